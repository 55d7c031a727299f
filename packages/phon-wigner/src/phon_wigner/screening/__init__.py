"""What a screening host takes from here: a conductivity solver and a metric, in plain arrays."""
