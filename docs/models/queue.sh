#!/bin/sh
# Continues the training of pvt-hydranet-b0 and of the single-task networks. Runs the stages below in order and
# resumes the one that was stopped; a stage that is done is not repeated, and train-bdd refuses a stage that
# was started with other flags. The log of what was run is docs/models/training-log.md.
#
# usage: docs/models/queue.sh pretrained|single_task REAL REAL640 RUNS
#   REAL, REAL640: the two sets of labelled frames, in BDD100K's layout; RUNS: folder of the runs
#
# On a CPU with OMP_NUM_THREADS=1: `pretrained` keeps two cores busy, `single_task` one.
set -eu
[ $# -eq 4 ] || { sed -n '6,7s/^# //p' "$0" >&2; exit 2; }
list=$1 real=$2 real640=$3 runs=$4

stage() { # NAME FLAGS...
  out=$runs/$1
  shift
  if [ -e "$out/config.json" ]; then set -- "$@" --resume; fi
  train-bdd --data "$real" --data "$real640" --out "$out" "$@"
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

pretrained() { # from the packaged weights: crops first, whole frames last
  common="--rendered 600 --rendered-weight 0.6 --repeat-rare --batch 8 --optimizer muon"
  # shellcheck disable=SC2086
  pair crops $common --init default --size 256x448 --zoom 0.9 1.9 --lr 0.001 --ema 0.998 --epochs 2
  # shellcheck disable=SC2086
  pair whole $common --init "$runs/crops.safetensors" --size 384x640 --zoom 0.8 1.5 --lr 0.0006 --ema 0.997 --epochs 1
  average-checkpoints "$runs/crops.safetensors" "$runs/whole.safetensors" -o "$runs/pretrained.safetensors"
}

single_task() { # the budget of docs/studies/benchmark-real.md, one task each
  for task in det lane drivable scene; do
    stage "single-$task" --tasks "$task" --size 192x320 --zoom 1.0 2.0 --batch 32 --epochs 5 --lr 0.002 --ema 0.998
  done
}

case $list in
  pretrained | single_task) "$list" ;;
  *) echo "$list: unknown list; pretrained or single_task" >&2; exit 2 ;;
esac
