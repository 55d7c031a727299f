"""Figures: of all crystals of a run, and of one crystal.

Those of a run are specified first (``specification``: numbers, guides and captions) and drawn twice, by the scripts of
the page and by matplotlib (``drawing``). Those of one crystal (``crystal``) take arrays and return a matplotlib figure.
"""
