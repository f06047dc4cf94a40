# Makefile - builds Assay, runs its tests and makes its book. `make help` lists the targets.
#
# CONFIG chooses the compiler and the build folder: gcc (the default, which gives build/assay),
# clang, asan (gcc with ASan and UBSan), tsan (gcc with TSan, without OpenMP) or fuzz (clang with
# libFuzzer). With the kernels: gpu (nvcc), emu (the same kernels as C++, on the CPU) or emu-race
# (the same, and races between threads).

CONFIG = gcc
PYTHON = build/venv/bin/python
SECONDS = 60
STREAMS = 64
KILLS = 10
B = build/$(CONFIG)

CC_gcc = gcc
CC_clang = clang
CC_asan = gcc
CC_tsan = gcc
CC_fuzz = clang
CC_gpu = gcc
CC_emu = gcc
CC_emu-race = gcc
CC := $(CC_$(CONFIG))
$(if $(CC),,$(error CONFIG is $(CONFIG); it may be gcc, clang, asan, tsan, fuzz, gpu, emu or emu-race))

# gcc 12 at -O3 gets `for (..) strcmp(c ? "a" : p, t[i])` wrong: it compares two of the t only.
STRLEN := $(if $(filter gcc,$(CC)),-fno-optimize-strlen)
# Nothing here may let a compiler change a float result: no contraction, no fast-math, no -lm.
ARCH := $(if $(filter x86_64,$(shell uname -m)),-march=x86-64-v3)
WARN = -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Werror
SAN_asan = -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_tsan = -g -fsanitize=thread -fno-openmp -Wno-unknown-pragmas -Wl,--no-as-needed -lgomp
SAN_fuzz = $(SAN_asan) -fsanitize=fuzzer-no-link
CFLAGS = -std=c11 -D_GNU_SOURCE -O3 $(ARCH) -ffp-contract=off -fno-fast-math -fno-math-errno \
	-fopenmp $(WARN) $(STRLEN) $(SAN_$(CONFIG)) $(DEVICE_$(CONFIG)) -Isrc $(PKG_CFLAGS)
# MPI=no leaves out what many processes need; so does a machine without it.
MPI ?= yes
OMPI := $(if $(filter no,$(MPI))$(filter gpu,$(CONFIG)),,$(shell pkg-config --exists ompi-c 2>/dev/null && echo ompi-c))
PACKAGES = jansson libpcre2-8 libutf8proc libsodium libmicrohttpd $(OMPI)
PKG_CFLAGS := $(if $(OMPI),-DASSAY_MPI) $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

# The kernels: one file for the device, one for the host, and the emulator's own.
NVCC := $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
DEVICE_gpu = -DASSAY_GPU='"gpu"' -Ikernels
DEVICE_emu = -DASSAY_GPU='"emu"' -Ikernels
DEVICE_emu-race = $(DEVICE_emu)
NVFLAGS = -std=c++17 -O3 -fmad=false -ftz=false -prec-div=true -prec-sqrt=true \
	$(foreach a,90a 100a 120a,-gencode arch=compute_$(a),code=sm_$(a)) \
	-Xcompiler -fopenmp,-Wall,-Wno-unknown-pragmas -Isrc -Ikernels \
	$(if $(MEGA_WARPS),-DMEGA_WARPS=$(MEGA_WARPS))
EMUFLAGS = -x c++ -std=c++17 -DASSAY_EMU -DMEGA_WARPS=$(WARPS) -g -O2 $(ARCH) -ffp-contract=off \
	-fno-fast-math -fopenmp -Wall -Wextra -Wno-unknown-pragmas -Wno-missing-field-initializers \
	-Isrc -Ikernels -Itests/emu
WARPS = 4
KERNELS_gpu = mega.o host.o
KERNELS_emu = mega.o host.o emu.o
KERNELS_emu-race = $(KERNELS_emu)
KERNELS := $(addprefix $(B)/kernels/,$(KERNELS_$(CONFIG)))
KERNEL_gpu = $(NVCC) $(NVFLAGS)
KERNEL_emu = g++ $(EMUFLAGS)
KERNEL_emu-race = $(KERNEL_emu)
RACE_emu-race = -fsanitize=thread
LINK_gpu = $(NVCC) -cudart static -Xcompiler -fopenmp
LINK_emu = g++ -fopenmp -pthread
LINK_emu-race = $(LINK_emu)
LINK := $(or $(LINK_$(CONFIG)),$(CC) $(CFLAGS))

SRC := $(sort $(wildcard src/*.c))
OBJ := $(SRC:src/%.c=$(B)/%.o)
PARTS := $(filter-out $(B)/main.o,$(OBJ))
BIN := $(if $(filter gcc,$(CONFIG)),build/assay,$(B)/assay)
TESTS := $(patsubst tests/%.c,$(B)/%,$(sort $(wildcard tests/test_*.c)))
LONG := $(patsubst tests/%.c,$(B)/%,$(sort $(wildcard tests/exhaustive_*.c)))
FUZZ := $(patsubst tests/%.c,$(B)/%,$(sort $(wildcard tests/fuzz_*.c)))
CHECKED := $(sort $(wildcard src/*.[ch] tests/*.[ch] kernels/*.cu kernels/*.cuh kernels/*.h tests/emu/*))

all: build ## the same as build
build: $(OBJ) $(if $(filter $(B)/main.o,$(OBJ)),$(BIN)) ## compile the program to build/assay

$(BIN): $(OBJ) $(KERNELS)
	$(LINK) -o $@ $^ $(LIBS)

$(B)/kernels/%.o: kernels/%.cu Makefile
	@mkdir -p $(@D)
	$(KERNEL_$(CONFIG)) $(if $(filter mega,$*),$(RACE_$(CONFIG))) -MMD -MP -c -o $@ $<

$(B)/kernels/%.o: tests/emu/%.cpp Makefile
	@mkdir -p $(@D)
	$(KERNEL_$(CONFIG)) -MMD -MP -c -o $@ $<

$(B)/%.o: src/%.c Makefile
	@mkdir -p $(B)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/serve.o: src/page.html # which it carries

$(B)/test_%: tests/test_%.c $(PARTS) Makefile
	@mkdir -p $(B)
	$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(PARTS) $(LIBS)

$(B)/exhaustive_%: tests/exhaustive_%.c $(PARTS) Makefile
	@mkdir -p $(B)
	$(CC) $(CFLAGS) -MMD -MP -o $@ $< $(PARTS) $(LIBS)

$(B)/fuzz_%: tests/fuzz_%.c $(PARTS) Makefile
	@mkdir -p $(B)
	$(CC) $(CFLAGS) -fsanitize=fuzzer -MMD -MP -o $@ $< $(PARTS) $(LIBS)

$(B)/mixed: tests/mixed.c $(PARTS) $(KERNELS) Makefile
	$(CC) $(CFLAGS) -MMD -MP -c -o $@.o $<
	$(LINK) -o $@ $@.o $(PARTS) $(KERNELS) $(LIBS)

programs: build $(TESTS) # what the test runner needs
exhaustive-programs: $(LONG)
fuzz-programs: $(FUZZ)

gpu-build: ## compile the program with its kernels to build/gpu/assay (needs nvcc)
	@if [ -z "$(NVCC)" ]; then echo "not run: nvcc is not installed"; else \
	    $(MAKE) --no-print-directory CONFIG=gpu build build/gpu/mixed; fi

emu: ## the same program with the kernels emulated on the CPU, to build/emu/assay
	@$(MAKE) --no-print-directory CONFIG=emu build build/emu/mixed

emu-race: ## the same, looking for races between threads, to build/emu-race/assay
	@$(MAKE) --no-print-directory CONFIG=emu-race build

emu-verify: ## every golden vector of models, gradients and updates through the emulated kernels (minutes)
	@sh tests/verify_emu.sh

gpu: ## on a machine with a GPU: compare with the processor, measure, write a receipt (10 minutes)
	@sh tests/gpu.sh $(if $(BUILT),built)

gpu-carry: ## programs and libraries for such a machine, under build/gpu and build/gpu-w*
	@MPI=no sh tests/gpu.sh carry

ptx: ## what the CUDA compiler makes of the kernels (needs nvcc)
	@sh tests/ptx.sh

receipts: build ## receipts of devices against what this processor computes
	@sh tests/receipts.sh

demo: ## the main job: make demo MODEL=DIR quantises the folder, prints its ladder and generates
	@sh .ci/deps build
	@$(MAKE) --no-print-directory CONFIG=gcc build
	@sh tests/demo.sh "$(MODEL)"

test: ## build, then every check that needs no more than some minutes
	@sh .ci/deps test
	@sh tests/run.sh gcc all

asan: ## the C tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@sh tests/run.sh asan c

clang: ## build and run the C tests with clang
	@sh tests/run.sh clang c

book: ## weave the book and render it to build/book/index.html
	@sh book/book.sh

mirror: ## each module's lines against its budget, and its chapter, vectors and proof
	@sh tests/mirror.sh

vectors: ## make the golden vectors again and compare; check SHA256SUMS
	@PYTHON="$(PYTHON)" sh tests/vectors.sh

knowledge: build ## what scales and codebooks alone can learn of new text (minutes)
	@mkdir -p build/knowledge-text
	@python3 vectors/tiny/corpus.py 20000 3 --new >build/knowledge-text/new.txt
	@python3 vectors/tiny/corpus.py 500 4 --new >build/knowledge-text/held.txt
	@sh tests/knowledge.sh vectors/tiny build/knowledge-text/new.txt build/knowledge-text/held.txt

tiny: build ## train the embedded model again and compare it with its SHA-256 (half an hour on 2 cores)
	@sh vectors/tiny/make.sh

hamilton: build ## let the embedded model practise mechanics again and compare its SHA-256 (40 to 65 minutes)
	@sh vectors/hamilton/make.sh

showcase: build ## all runs of chapter 37: hours (SEEDS, METHODS, WHATS, JOBS)
	@sh tests/showcase.sh

sums: ## write vectors/SHA256SUMS anew
	@sh tests/vectors.sh sums

audit: ## write the generated parts of AUDIT.md anew
	@sh tests/audit.sh write

proofs: ## check the machine-checked proofs with the provers that are installed
	@sh tests/proofs.sh

exhaustive: ## every binary32 value through each function of num, against a reference (minutes)
	@$(MAKE) --no-print-directory CONFIG=$(CONFIG) exhaustive-programs
	@set -e; for t in $(LONG); do $$t; done

fuzz: ## fuzz the readers of foreign files, SECONDS=60 in all
	@$(MAKE) --no-print-directory CONFIG=fuzz fuzz-programs
	@sh tests/fuzz.sh $(SECONDS)

soak: build ## serve and learn for SECONDS=60 with STREAMS=64 and KILLS=10, then replay (MODEL: a dense folder)
	@$(PYTHON) tests/soak.py $(SECONDS) $(STREAMS) $(KILLS) $(MODEL)

bench: build ## speed: memory bandwidth, and decoding at the shape of a real model
	build/assay bench

cppcheck: ## static analysis of src
	@sh tests/cppcheck.sh

format: ## check that clang-format would change nothing
	@sh tests/format.sh

format-fix: ## let clang-format rewrite the sources
	clang-format-14 -i -style=file $(CHECKED)

deps: ## install what the build and the tests need (apt-get and a Python venv under build/)
	@sh .ci/deps test

clean: ## remove build/
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' Makefile

.PHONY: all build gpu gpu-carry ptx receipts gpu-build emu emu-race programs exhaustive-programs fuzz-programs demo test asan clang book mirror tiny hamilton showcase knowledge \
	vectors sums audit proofs exhaustive fuzz soak bench cppcheck format format-fix deps clean help
.DELETE_ON_ERROR:
-include $(wildcard $(B)/*.d $(B)/kernels/*.d)
