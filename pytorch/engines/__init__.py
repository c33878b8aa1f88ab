"""Where jobs run: local.py on this machine, cluster.py on Slurm (slurm.py) or Grid Engine (sge.py). utils/submit.py is the command line of all."""
