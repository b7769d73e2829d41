"""Methods by name, a file for each kind. One line here, and the command line knows a method.

The line maps the name to a class (or a function that makes one). What it lets one choose are the fields of its
configuration, a frozen dataclass beside the class that its constructor's parameter `config` is annotated with; a class
without one has its constructor's keyword arguments instead. What else the constructor asks for it is given by name:
`embodia.scripts.assembly.kinds` says what there is for each kind.
"""
