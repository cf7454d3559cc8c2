"""How requests are read and responses are written: parameters, lists, expansion, permissions, faults."""
