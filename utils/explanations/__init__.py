"""Explanations: explainers, margin, scout, masks, rendering, storage, explain_list, localization, deletion."""
