"""Sources of labels in processes of their own: the program they run, how they are started, watched and ended."""
