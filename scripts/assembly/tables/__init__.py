"""Tables of methods by name, one file per kind. A method is added to the command line by one line here.

A line maps the name to a class (or a function that returns an object of it). The options of the method are the fields
of its configuration: the frozen dataclass that annotates the parameter `config` of its constructor. Without that
parameter, they are the constructor's keyword arguments. The other arguments of the constructor are passed by name;
`embodia.scripts.assembly.kinds` lists them for each kind.
"""
