#!/bin/sh
# Continues the training of the packaged models and of the single-task networks. Runs the stages below in order
# and resumes the one that was stopped; a stage that is done is not repeated, and train-bdd refuses a stage that
# was started with other flags. What was run: docs/models/training-log.md and docs/models/hydranet-lite0.md.
#
# usage: [WEIGHTS="3 1 0.8 1"] docs/models/queue.sh default|pvt|single_task RUNS DATA [DATA...]
#   RUNS: folder of the runs; DATA: labelled frames, in BDD100K's layout; WEIGHTS: one per DATA
#
# On a CPU with OMP_NUM_THREADS=1: `default` and `pvt` keep two cores busy, `single_task` one.
set -eu
[ $# -ge 3 ] || { sed -n '6,7s/^# //p' "$0" >&2; exit 2; }
list=$1 runs=$2
shift 2
data=""
for folder in "$@"; do data="$data --data $folder"; done # folders without spaces
[ -z "${WEIGHTS:-}" ] || data="$data --data-weights $WEIGHTS"

stage() { # NAME FLAGS...
  out=$runs/$1
  shift
  if [ -e "$out/config.json" ]; then set -- "$@" --resume; fi
  # shellcheck disable=SC2086
  train-bdd $data --out "$out" "$@"
}

pair() { # NAME FLAGS...: two seeds side by side with one thread each, then the mean of their weights
  name=$1
  shift
  stage "$name-1" --seed 1 "$@" &
  first=$!
  stage "$name-2" --seed 2 "$@"
  wait "$first"
  average-checkpoints "$runs/$name-1/last.safetensors" "$runs/$name-2/last.safetensors" -o "$runs/$name.safetensors"
}

packaged() { # NAME LOW HIGH SIZE: from the packaged weights, crops of these zooms first, whole frames last
  low=$2 high=$3 size=$4
  set -- "$1" --rendered 600 --rendered-weight 0.6 --repeat-rare --optimizer muon
  name=$1
  shift
  pair "$name-crops" "$@" --init "$name" --batch 16 --size 256x448 --zoom "$low" "$high" --lr 0.0014 --ema 0.998 --epochs 3
  pair "$name-whole" "$@" --init "$runs/$name-crops.safetensors" --batch 8 --size "$size" --zoom 0.8 1.5 --lr 0.0006 \
    --ema 0.997 --epochs 1
  average-checkpoints "$runs/$name-crops.safetensors" "$runs/$name-whole.safetensors" -o "$runs/$name.safetensors"
}

single_task() { # the budget of docs/studies/benchmark-real.md, one task each
  for task in det lane drivable scene; do
    stage "single-$task" --tasks "$task" --size 192x320 --zoom 1.0 2.0 --batch 32 --epochs 5 --lr 0.002 --ema 0.998
  done
}

case $list in
  default) packaged default 1.0 2.4 480x832 ;;
  pvt) packaged pvt 0.9 1.9 384x640 ;;
  single_task) single_task ;;
  *) echo "$list: unknown list; default, pvt or single_task" >&2; exit 2 ;;
esac
