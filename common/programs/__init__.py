"""What the scripts run: training, evaluation, pictures, the demo. They put the parts together."""
