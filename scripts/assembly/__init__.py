"""Assembly: configurations, and the environments, encoders, models, planners and agents built from them."""
