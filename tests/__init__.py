"""The tests lie as what they test: `tests/data/` holds those of `utils/data`, `tests/models/` those of `models`, and so on.

Those of the scripts, which run the whole pipeline, lie here, beside this file, as the scripts lie at the top of the repository;
so does `test_style.py`, which looks at all code. `conftest.py` holds what any test may ask for, `helpers/` what tests call.
"""
