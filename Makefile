# make demo   set up if needed, train the shipped model a little on rendered roads, export, run on a
#             rendered drive; leaves runs/demo/{best,last}.safetensors, model.onnx, overlay.mp4, overlay.jsonl, and
#             overlay-default.mp4, the same drive with the shipped model
# make test   set up if needed, run every test, a few processes side by side
# make lint   ruff and mypy
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
EXTRAS := cpu,train,export,int8,imagenet,bdd,demo,openvino,car,viz,ray,hub,dev

.PHONY: setup demo test lint clean
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# Trains for two minutes, exports, and shows the result on a drive it has never seen.
demo: setup
	rm -rf $(DEMO)
	$(BIN)/train-bdd --init default --tasks det,lane,drivable,scene --size 192x320 --zoom 0.9 1.3 --limit 1500 \
		--val-limit 60 --epochs 20 --batch 8 --ema 0.99 --max-minutes 2 --out $(DEMO)
	$(BIN)/export-onnx $(DEMO)/last.safetensors -o $(DEMO)/model.onnx
	$(BIN)/render-roads drive $(DEMO)/drive.mp4 --frames 100 --seed 6
	$(BIN)/perceive $(DEMO)/drive.mp4 --model $(DEMO)/model.onnx \
		--save $(DEMO)/overlay.mp4 --json $(DEMO)/overlay.jsonl
	$(BIN)/perceive $(DEMO)/drive.mp4 --save $(DEMO)/overlay-default.mp4

test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info
