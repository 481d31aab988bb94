from perpixel.cli import main

main()
