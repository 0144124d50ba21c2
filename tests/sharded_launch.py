"""``cycle_utils.study.launch`` as ``accelerate launch --config_file fsdp2.yaml`` begins it on GPUs, for CPUs."""

import trainings

from cycle_utils.study import launch

if __name__ == "__main__":
    trainings.shard()
    launch.main()
