"""One factory for each force field the host knows by name.

A factory imports its library when called. Weights that would have to be downloaded are refused unless the
option ``download = true`` says so; every such factory also takes ``path`` to a file that is already there.
A checkpoint of another code is a pickle, which may run code when it is loaded: a file that the user names is loaded
only with the option ``trust = true``; weights that ship in a library's wheel are as trusted as the library.
Forces feed finite derivatives, so models that offer a choice run in double precision where that is cheap.
"""
