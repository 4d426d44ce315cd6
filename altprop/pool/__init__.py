"""Who works: one job after another in this process, in several, or over a Ray cluster."""
