"""The machinery that the scripts share: lists -> images -> features -> maps -> explanations -> scores -> course."""
