#!/usr/bin/env bash
# Pretraining on hosts that are reached by ssh: configs/cluster/ssh.sh "HOST1 HOST2 ..." FILE.yaml [key=value ...]
# Each host has textdae in the same place (PYTHON, by default the python on its PATH) and starts PROCESSES processes. Hosts need
# no common disk: each prepares the corpus once, or data.source names what `textdae prepare` wrote to a store. Start it again
# to go on: --resume brings the newest checkpoint to the hosts that lack it.
set -euo pipefail
read -ra hosts <<<"$1"
shift
python=${PYTHON:-python} processes=${PROCESSES:-1} port=${PORT:-29400}
words=$(printf ' %q' "$@")
for number in "${!hosts[@]}"; do
    ssh -tt "${hosts[$number]}" "cd $(printf %q "$PWD") && $python -m torch.distributed.run \
        --nnodes=${#hosts[@]} --node-rank=$number --nproc-per-node=$processes \
        --master-addr=${hosts[0]} --master-port=$port -m textdae pretrain$words --resume" &
done
failed=0
for job in $(jobs -p); do wait "$job" || failed=$?; done
exit "$failed"
