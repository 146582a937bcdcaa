"""What every other room may use: errors, atomic files, image reading, the machine. Without torch."""
