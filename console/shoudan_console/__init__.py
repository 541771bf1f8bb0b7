"""The console: the system seen and steered in a browser, by operators, in Chinese and English."""
