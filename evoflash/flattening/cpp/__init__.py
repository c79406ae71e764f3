"""As much of C++ as flattening has to understand.

Each module knows only those that stand before it in this list:

- `preprocessor`, `masking`, `nodes`, `syntax`: a text becomes a syntax tree.
- `errors`, `declarations`, `scopes`: what is declared, and where.
- `types`, `integers`: types, and integers with a type.
- `templates`, `lookup`: templates with their parameters, and what names mean.
- `sizes`, `expressions`: constant expressions.
- `uses`, `deduction`: what template parameters are in all uses of their templates.
- `program`: all of it for one text.

What is not certain is not known: the text then stays as it is.
"""
