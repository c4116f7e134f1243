"""Counterfactual explanations: where an image shows that it is class a and not class b.

- `explained`: what a way of explaining gives, and what it must say of itself.
- `methods`: the dictionary of the ways of explaining.
- `scout`: SCOUT's discriminant explanation, from Grad-CAM maps in closed form.
- `margin`: HiResCAM of the margin between two classes, at an early layer (the default).
- `masks`: maps brought to the image's size and cut to their highest pixels.
- `rendering`: the pictures for machines and for people.
- `storage`: what the network says about a whole list, gathered on disk.
- `explain_list`: a whole list, from decoding to files.
- `sheet`: the contact sheet.
- `localization`: whether explanations find what makes a drawn moth this kind and not that one (a command).
- `deletion`: what the margin loses where explanations are blurred, on photographs (a command).
"""
