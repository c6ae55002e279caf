"""`python -m frame_vit`: the same program as the `framevit` command (torchrun needs a module to start)."""

from frame_vit.cli import main

if __name__ == "__main__":
    main()
