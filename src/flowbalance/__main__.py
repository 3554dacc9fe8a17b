from flowbalance.cli import main

raise SystemExit(main())
