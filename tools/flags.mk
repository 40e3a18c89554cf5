# SPDX-License-Identifier: GPL-2.0
# What the library, the tests and the examples are compiled with. An including
# Makefile sets TOP (absolute) first and gets OUT, the directory of this flavour:
#
#   SAN=address|thread|undefined	with that sanitizer, in build/asan, tsan, ubsan
#   SAN=address,undefined		with both, in build/asan-ubsan
#   SAN=race			for programs under -fsanitize=thread, in build/race: TSan
#				sees them, not the scheduler (base/sanitizer.h)
#   SAN=inject			delays, preemptions and failures injected, in build/inject
#				(base/inject.h)
#   ARCH_GENERIC=1			the portable architecture code, in build/generic
#   CC=clang				another compiler, in the same place
#   OUT=dir				another place
#   V=1					the commands as they are

ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
OBJCOPY ?= objcopy

SAN ?=
comma := ,
FLAVOUR_address := asan
FLAVOUR_thread := tsan
FLAVOUR_undefined := ubsan
FLAVOUR_address,undefined := asan-ubsan
FLAVOUR_race := race
FLAVOUR_inject := inject
FLAVOUR := $(if $(SAN),$(FLAVOUR_$(SAN)))
ifneq ($(SAN),$(if $(FLAVOUR),$(SAN)))
$(error SAN=$(SAN): address, thread, undefined, address$(comma)undefined, race or inject)
endif

ARCH := $(shell uname -m)
ifeq ($(ARCH_GENERIC)$(wildcard $(TOP)/libgo-user/src/arch/$(ARCH)),$(ARCH_GENERIC))
ARCH_GENERIC := 1
endif
ifneq ($(ARCH_GENERIC),)
ARCH := generic
FLAVOUR := $(if $(FLAVOUR),$(FLAVOUR)-)generic
endif
BUILD := $(TOP)/build
OUT ?= $(BUILD)$(if $(FLAVOUR),/$(FLAVOUR))

Q := $(if $(filter-out 0,$(V)),,@)
say = $(if $(filter-out 0,$(V)),,@printf '  %-7s %s\n' $(1) $(patsubst $(TOP)/%,%,$(2)))

CFLAGS ?= -O2 -g
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN:race=thread))
ifeq ($(SAN),inject)
SAN_FLAGS := -DGS_INJECT
endif
ifeq ($(SAN),race)
SAN_FLAGS += -DGS_RACE
endif
ifneq ($(findstring undefined,$(SAN)),)
SAN_FLAGS += -fno-sanitize-recover=undefined -DGS_LOCKRANK
endif
GS_CFLAGS := -std=gnu11 -D_GNU_SOURCE= -Wall -Wextra -Werror -pthread -fexceptions \
	-fno-omit-frame-pointer -fmacro-prefix-map=$(TOP)/= $(SAN_FLAGS)
GS_INCLUDES := -I$(TOP)/libgo-user/include
LIBGO := $(OUT)/libgo-user.a

# Everything that is compiled depends on this file, which changes with the
# compiler and the flags only: a switch between them compiles anew.
FLAGS_FILE := $(OUT)/.flags
FLAGS_NOW := $(CC) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS) $(GS_CFLAGS) $(ARCH)
ifneq ($(file <$(FLAGS_FILE)),$(FLAGS_NOW))
$(shell mkdir -p $(OUT))
$(file >$(FLAGS_FILE),$(FLAGS_NOW))
endif
