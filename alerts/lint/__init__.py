"""What is wrong with routes and rules that are loaded without a word: findings with stable ids."""
