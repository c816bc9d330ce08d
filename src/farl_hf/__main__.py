"""`python -m farl_hf` is `farl-hf`."""

from farl_hf.cli import main

if __name__ == "__main__":
    main()
