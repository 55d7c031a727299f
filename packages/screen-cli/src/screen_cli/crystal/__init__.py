"""What a crystal is: its cell, its identity, its prototype."""
