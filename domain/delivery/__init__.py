"""Messages to machines and people: webhook deliveries and notifications."""
