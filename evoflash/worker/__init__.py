"""What runs in the process that holds torch and the device; nothing else imports it."""
