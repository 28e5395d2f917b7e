#!/bin/sh
# One space for THINGS-EEG2, THINGS-MEG and THINGS-fMRI:
#
#     neuroenc simulate resources/things --layout things
#     sh config/studies/one_space.sh resources/things results/one-space
#
# ROOT holds things_eeg2, things_meg and things_fmri, simulated or the true ones: of these take all people
# (01 to 10, 1 to 4, 01 to 03), a large network (CLIP: '{"network": "clip-vitb32"}', after
# `neuroenc weights fetch clip-vitb32`), more components and epochs, and "repeats": [1, 4].
set -eu
root=$1 out=$2
model=${MODEL:-'{"extractor": "open_clip", "network": "nano", "layers": ["visual"]}'}
options=${OPTIONS:-'{"n_components": 12, "n_hidden": 64, "n_blocks": 1, "batch_size": 64, "max_epochs": 5, "repeats": [1, 4]}'}

people() {
    case $1 in eeg) echo "${EEG:-01 02 03}" ;; meg) echo "${MEG:-1 2}" ;; fmri) echo "${FMRI:-01 02}" ;; esac
}

of_set() {
    case $1 in eeg) set_name=things_eeg2 ;; *) set_name=things_$1 ;; esac
    printf '{"name": "%s", "root": "%s/%s", "mask": "rois"}' "$set_name" "$root" "$set_name"
}

# what each set is made of, and what each person answered, in one process
set --
for m in eeg meg fmri; do
    set -- "$@" --then data stimuli --options "$(of_set $m)" --out "$out/$m/stimuli.nc"
    for p in $(people $m); do set -- "$@" --subject "$p"; done
    set -- "$@" --then features extract --stimuli "$out/$m/stimuli.nc" --options "$model" --out "$out/$m/features.nc"
    for p in $(people $m); do
        set -- "$@" --then data responses --options "$(of_set $m)" --subject "$p" --out "$out/$m/$p.nc"
    done
done
shift # the first --then
neuroenc "$@"

# no concept that one set tests is trained on in another
set --
for m in eeg meg fmri; do set -- "$@" --stimuli "$m=$out/$m/stimuli.nc"; done
neuroenc split union "$@" --options '{"kind": "dataset"}' --out "$out/split.nc"

# one space, and the same without the last person of EEG, who is read through the others
set --
for m in eeg meg fmri; do
    set -- "$@" --features "$m=$out/$m/features.nc"
    for p in $(people $m); do set -- "$@" --responses "$m:$p=$out/$m/$p.nc"; done
done
neuroenc decode joint "$@" --split "$out/split.nc" --options "$options" --out "$out/joint"
last=$(people eeg | tr ' ' '\n' | tail -1)
neuroenc decode joint "$@" --split "$out/split.nc" --options "$options" --out "$out/unseen" --leave-out "eeg:$last" |
    grep "across subjects"
