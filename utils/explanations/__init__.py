"""Counterfactual explanations: where an image shows that it is class a and not class b.

- `explainers`: the interface of an explainer and the registry.
- `scout`: SCOUT's discriminant explanation, from Grad-CAM maps in closed form.
- `margin`: HiResCAM of the margin between two classes, at an early layer (the default).
- `masks`: cuts maps to their highest pixels.
- `rendering`: draws explanations for machines and for people.
- `storage`: working arrays, heatmaps.npz, and the record of an explanation list.
- `explain_list`: explains a whole list, from decoding to files.
- `sheet`: draws the contact sheet.
- `localization`: compares explanations of drawn moths with exact counterfactuals (a command).
- `deletion`: measures the loss of margin when the mask of a photograph is blurred (a command).
"""
