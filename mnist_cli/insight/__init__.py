"""What a trained network sees: its layers' answers, the pixels it listens to, what it likes best."""
