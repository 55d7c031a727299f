"""Stages at a temperature: which crystals, their cell, their force constants."""
