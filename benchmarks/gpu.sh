#!/usr/bin/env bash
# The figures of one GPU, in parts of at most six minutes; a part that was stopped goes on.
#
#     CIFAR10=/data/cifar10.npz TABLES=/data/tables benchmarks/gpu.sh fast
#
# In the order of their worth:
#   steps      a step and a score beside the captured network of one path, batch 128 and 512
#   fast       recipes/cifar10-fast.yaml: supernet, search, best network tested
#   mixed      the best network of fast by 150 epochs with CutMix and averaged weights
#   retrain30  accuracy in 30 s, by retrain.py, 64 channels
#   retrain180 accuracy in 3 minutes, 128 channels
#   supernets  macro and nb201 at full size: seconds, and ranking against the published tables
#   beside     a random network of equal MACs and ResNet-18 by the retraining of cifar10-fast.yaml
#   nasnet     two epochs and a hundred scores of recipes/cifar10-nasnet.yaml
#   imagenet   two epochs of recipes/imagenet-mbconv.yaml on random images: speed, memory
#   recipes    recipes/cifar10-macro.yaml and cifar10-nb201.yaml as they are, ranked in the same way
#   sizes      macro at 16 pixels, at 16 channels, in larger batches: which of them costs ranking
#   settings   each setting of a short training alone, three seeds of twelve epochs
#   proof      benchmarks/proof.py at full size, five minutes of it at a time
#
# CIFAR10: an .npz by absolute path (default: cifar10, downloaded). TABLES: folder of the published
# tables. OUT: results.jsonl, seconds.jsonl and logs (default: runs/gpu); RUNS: run folders (default:
# OUT/runs). DEVICE: default cuda. PYTHON: default python3. SMALL=1: each part in a small form, on
# the processor, in a minute or two.
set -euo pipefail
cd "$(dirname "$0")/.."

part=${1:?which part? the head of this file lists them}
PYTHON=${PYTHON:-python3} CIFAR10=${CIFAR10:-cifar10} TABLES=${TABLES:-../shared/data}
OUT=$(realpath -m "${OUT:-runs/gpu}") SMALL=${SMALL:-} && RUNS=$(realpath -m "${RUNS:-$OUT/runs}")
if [ "$SMALL" ]; then DEVICE=cpu; else DEVICE=${DEVICE:-cuda}; fi
mkdir -p "$OUT" "$RUNS"
fast=recipes/cifar10-fast.yaml results=$OUT/results.jsonl
network=3-0-3-1-0-3 # three convolutions in a row beside a skip, in every cell

small() { if [ "$SMALL" ]; then echo "$@"; fi; } # these words only in the small form
full() { if [ ! "$SMALL" ]; then echo "$@"; fi; }

# stage NAME COMMAND...: run it with a log, and add its seconds and status to seconds.jsonl
stage() {
  local name=$1 start status=0
  shift && start=$(date +%s%3N)
  "$PYTHON" "$@" 2>&1 | tee -a "$OUT/$part.log" || status=$?
  printf '{"part": "%s", "stage": "%s", "ms": %d, "status": %d}\n' "$part" "$name" \
    $(($(date +%s%3N) - start)) "$status" >>"$OUT/seconds.jsonl"
  return "$status"
}

# supernet NAME FLAGS...: the supernet of cifar10-fast.yaml in RUNS/NAME
supernet() {
  local name=$1
  shift
  # shellcheck disable=SC2046
  stage "supernet $name" train_supernet.py "$RUNS/$name" --config $fast --data "$CIFAR10" \
    --device "$DEVICE" "$@" $(small --width 4 --epochs 1 --image-size 8 --batch-size 32)
}

# within NAME SECONDS SETTING...: what a retraining reaches in so many seconds
within() {
  local name=$1 seconds=$2
  shift 2
  stage "$seconds s $name" benchmarks/speed.py retrain "$RUNS/$name" --results "$results" \
    --arch "$architecture" --seconds "$seconds" --set device="$DEVICE" export=pt2 "$@" \
    $(small batch_size=32 cutout=2)
}

resnet() { # a space of its own; a supernet of one epoch, since a run has one
  stage "supernet resnet18" train_supernet.py "$RUNS/resnet18" --config $fast --data "$CIFAR10" \
    --device "$DEVICE" --space benchmarks/resnet18.py --width null --depth null --init random \
    --sampling-weights null --epochs 1 $(small --image-size 8 --batch-size 32)
}

# rank FOLDER SPACE STRATEGY LENGTH FLAGS...: a supernet against the published table
rank() {
  local folder=$1 space=$2 strategy=$3 length=$4
  shift 4
  stage "$folder" benchmarks/ranking.py --spaces "$space" --strategies "$strategy" \
    --lengths $(full "$length") $(small 1 --random 8 --top 4) --images "$CIFAR10" \
    --tables "$TABLES" --scorings recalibrated --device "$DEVICE" --folder "$RUNS/$folder" \
    --set $(full --precision bf16 "$@") $(small --image-size 8 --width 2 --batch-size 40)
  cp "$RUNS/$folder/ranking.md" "$OUT/$folder.md"
  echo "{\"folder\": \"$folder\"}" >>"$OUT/scores.jsonl"
  cat "$RUNS/$folder"/*/ranking/*.jsonl >>"$OUT/scores.jsonl" # of each architecture
}

case $part in
  steps)
    stage steps benchmarks/throughput.py --captured --data "$CIFAR10" --device "$DEVICE" \
      --val-fraction 0.1 --out "$OUT/steps.json" $(full --spaces macro nb201 nasnet mbconv \
      --batches 128 512 --archs 4 --repeats 2) $(small --spaces macro --batches 16 --width 4 \
      --archs 1 --repeats 1 --steps 2 --warm 2 --precision 32 --calibration 64 --image-size 16)
    ;;
  fast)
    supernet fast
    stage search search.py "$RUNS/fast" --device "$DEVICE" \
      $(small --trials 3 --max-macs 100M --calibration-images 64)
    stage retrain retrain.py "$RUNS/fast" --device "$DEVICE" \
      $(small --epochs 1 --batch-size 32 --cutout 2)
    cat "$RUNS"/fast/retrain/*/result.json >"$OUT/fast.json"
    ;;
  mixed)
    supernet retrain128 --epochs 1
    stage mixed retrain.py "$RUNS/retrain128" --arch 3-3-2-2-0-3 --device "$DEVICE" --tag mixed \
      --cutmix 1 --cutout 0 --ema 0.999 --export pt2 $(full --epochs 150) \
      $(small --epochs 1 --batch-size 32)
    ;;
  retrain30)
    architecture=$network
    supernet retrain64 --epochs 1 $(full --width 64)
    within retrain64 $(full 30 cutout=0) $(small 2)
    ;;
  retrain180)
    architecture=$network
    supernet retrain128 --epochs 1
    within retrain128 $(full 180) $(small 2)
    ;;
  supernets)
    rank macro-full macro weighted 48 --image-size 32 --width 32
    rank nb201-full nb201 uniform 40 --image-size 32 --width 16
    ;;
  beside)
    other=$("$PYTHON" benchmarks/speed.py beside "$RUNS/fast" --arch best | tee -a "$results" |
      sed 's/.*"arch": "\([^"]*\)".*/\1/')
    stage "random network" retrain.py "$RUNS/fast" --arch "$other" --device "$DEVICE" \
      $(small --epochs 1 --batch-size 32 --cutout 2)
    resnet
    stage resnet18 retrain.py "$RUNS/resnet18" --arch channels=full --device "$DEVICE" \
      $(small --epochs 1 --batch-size 32 --cutout 2)
    cp "$RUNS/fast/retrain/$other/result.json" "$OUT/random.json"
    cp "$RUNS"/resnet18/retrain/*/result.json "$OUT/resnet18.json"
    ;;
  nasnet)
    stage supernet benchmarks/speed.py train "$RUNS/nasnet" --results "$results" \
      --config recipes/cifar10-nasnet.yaml --set data="$CIFAR10" device="$DEVICE" \
      $(small width=2 depth=1 image_size=8 batch_size=40)
    stage "hundred scores" search.py "$RUNS/nasnet" --device "$DEVICE" --trials $(full 100) \
      $(small 2 --calibration-images 64)
    stage retraining benchmarks/speed.py retrain "$RUNS/nasnet" --results "$results" \
      --arch random:1 --set device="$DEVICE" $(small batch_size=40 cutout=2)
    ;;
  imagenet)
    stage images benchmarks/speed.py images "$RUNS/random-images" $(small --classes 4 --each 16)
    stage supernet benchmarks/speed.py train "$RUNS/imagenet" --results "$results" \
      --config recipes/imagenet-mbconv.yaml --set data="$RUNS/random-images" device="$DEVICE" \
      $(full workers=14) \
      $(small workers=0 width=0.25 depth=1 image_size=32 batch_size=16 options=resolutions=[32])
    ;;
  recipes)
    rank macro-recipe macro weighted 48
    rank nb201-recipe nb201 uniform 40
    ;;
  sizes)
    rank macro-16-pixels macro weighted 48 --image-size 16 --width 32
    rank macro-16-channels macro weighted 48 --image-size 32 --width 16
    rank macro-batch-512 macro weighted 48 --image-size 32 --width 32 --batch-size 512 --lr 0.4
    ;;
  settings)
    supernet settings --epochs 1 $(full --width 64)
    for seed in $(full 0 1 2) $(small 0); do
      for change in none freeze-scales $(full schedule=cosine flip=true label-smoothing=0 \
        bias-lr=8 init=identity opt=lookahead_sgd lr=0.2 lr=0.8); do
        stage "$change" retrain.py "$RUNS/settings" --arch $network --device "$DEVICE" \
          --seed "$seed" --tag "$change-$seed" --epochs $(full 12 --warmup 3 --cutout 8) \
          $(small 1 --batch-size 32 --cutout 2) $([ "$change" = none ] || echo "--$change")
      done
    done
    ;;
  proof)
    stage proof benchmarks/proof.py "$OUT/proof" --images "$CIFAR10" --tables "$TABLES" \
      --device "$DEVICE" $(full --size full --threads 0 --minutes 5) \
      $(small --size tiny --seeds 1 --spaces sizes --budgets none)
    ;;
  *)
    echo "gpu.sh: no part $part; the head of this file lists them" >&2
    exit 2
    ;;
esac
