#!/usr/bin/env bash
# Bakes, trains and evaluates the recipes of the papers on CIFAR-10 or CIFAR-100, and compares them.
#
#   scripts/reproduce_cifar.sh --data data/cifar-10-batches-py --out reproduction --seeds 3 --corrupt data/CIFAR-10-C
#   scripts/reproduce_cifar.sh --quick --data data/cifar-small --out reproduction
#
# --data FOLDER     the official Python archive, extracted; or a folder with image folders train and test; or: demo
# --dataset NAME    cifar10 (default) or cifar100: which archive --data is
# --mixing SET      mixing set, as for `mixbake build` (default: fractals); PixMix's is a folder of pictures
# --out FOLDER      default: reproduction; what each of the forms makes lies in a folder of its own there
# --seeds N         seeds 0 to N-1, each with its own bake and training (default: 1; the papers average over several)
# --recipes NAMES   default: "plain augmix pixmix ipmix layermix"; any of `mixbake recipes`
# --corrupt DIR, --corrupt-bar DIR, --perturb DIR, --anomaly DIR (again for more)
#                   published test sets, as for `mixbake eval`; without --corrupt: stand-ins, which are labelled so
# --quick           for a CPU: a tiny network, few epochs, few test pictures; about 5 minutes a seed for 2000 pictures on
#                   2 cores. It shows that everything runs, and no more: its figures are not those of the papers.
#
# Without --quick, the papers' settings: WRN-40-4, 100 epochs, 10 epochs' worth of variants, for a GPU. AugMix and IPMix
# are trained with AugMix's consistency loss, as published. The attack is that of the papers' code, so that its column
# is theirs. The same command goes on where it was stopped; what is finished is not done again.
# MIXBAKE names another command than mixbake, such as "python -m mixbake".
set -euo pipefail

fail() { # fail MESSAGE
    printf 'reproduce_cifar: %s\n' "$1" >&2
    exit 2
}

dataset=cifar10 data='' mixing=fractals out=reproduction seeds=1 form=full
recipes=(plain augmix pixmix ipmix layermix)
corrupt=generated sets=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick)
        form=quick
        shift
        continue
        ;;
    -h | --help)
        sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"
        exit 0
        ;;
    esac
    [ $# -ge 2 ] || fail "$1 needs a value, or is unknown; see --help"
    case $1 in
    --data) data=$2 ;;
    --dataset) dataset=$2 ;;
    --mixing) mixing=$2 ;;
    --out) out=$2 ;;
    --seeds) seeds=$2 ;;
    --recipes) read -ra recipes <<<"$2" ;;
    --corrupt) corrupt=$2 ;;
    --corrupt-bar | --perturb | --anomaly) sets+=("$1" "$2") ;;
    *) fail "unknown option $1; see --help" ;;
    esac
    shift 2
done
[ -n "$data" ] || fail '--data is missing: name the pictures; see --help'
case $dataset in cifar10 | cifar100) ;; *) fail "--dataset is cifar10 or cifar100, not $dataset" ;; esac
[ ${#recipes[@]} -gt 0 ] || fail '--recipes names none; see --help'
[[ $seeds =~ ^[1-9][0-9]*$ ]] || fail "--seeds is a whole number from 1, not $seeds"

if [ "$data" = demo ]; then
    train_set=demo test_set=demo:split=test,count=500
elif [ -d "$data/train" ] && [ -d "$data/test" ]; then
    train_set=$data/train test_set=$data/test
else
    train_set=$dataset:$data test_set=$dataset:$data,split=test
fi

attack=(--pgd published)
case $form in
full)
    baking=(--epochs-worth 10)
    training=(--recipe cifar --model wrn40_4 --epochs 100 --max-uses 10)
    evaluating=()
    ;;
quick)
    baking=(--epochs-worth 5)
    training=(--recipe cifar --model wrn10_1 --dropout 0 --batch-size 64 --epochs 15 --max-uses 15)
    evaluating=(--limit 200)
    ;;
esac
read -ra mixbake <<<"${MIXBAKE:-mixbake}"
home=$out/$form-$dataset

# require_same FILE SETTINGS: fail if the run that FILE is about was begun with other settings
require_same() {
    mkdir -p "$(dirname "$1")"
    if [ ! -e "$1" ]; then printf '%s\n' "$2" >"$1"; fi
    local before
    before=$(<"$1")
    [ "$before" = "$2" ] || fail "$1 says that this run was made of other settings ($before), not of $2: take another --out"
}

# run NAME SEED: one recipe with one seed, from its bake to its evaluation. Every command resumes by itself.
run() {
    local recipe=$1 seed=$2 run=$home/runs/$1-seed$2 bake=$home/bakes/$1-seed$2
    local views=() settings=("${training[@]}")
    case $recipe in augmix* | ipmix*) views=(--views jsd) settings+=(--loss jsd) ;; esac
    case $recipe in plain | augmix*) ;; *) views+=(--mixing "$mixing") ;; esac
    printf '\n== %s, seed %s\n' "$recipe" "$seed"
    require_same "$home/made-of/$recipe-seed$seed" "$train_set; ${baking[*]} ${views[*]}; ${settings[*]}"
    if [ ! -e "$run/finished" ]; then
        "${mixbake[@]}" build "$train_set" "$bake" --recipe "$recipe" --seed "$seed" "${baking[@]}" "${views[@]}"
        if [ -e "$run/state.pt" ]; then
            settings=(--resume)
        else
            rm -rf -- "$run" # a training that was stopped before its first checkpoint begins anew
            settings+=(--seed "$seed")
        fi
        "${mixbake[@]}" train "$bake" --out "$run" "${settings[@]}"
        touch "$run/finished"
    fi
    "${mixbake[@]}" eval "$run" --on "$test_set" --corrupt "$corrupt" "${sets[@]}" "${attack[@]}" "${evaluating[@]}" \
        --out "$run/eval/$form"
}

runs=()
for ((seed = 0; seed < seeds; seed++)); do
    for recipe in "${recipes[@]}"; do
        run "$recipe" "$seed"
        runs+=("$home/runs/$recipe-seed$seed/eval/$form")
    done
done

printf '\n== Comparison\n'
if [ ${#runs[@]} -gt 1 ]; then
    "${mixbake[@]}" eval --compare "${runs[@]}" --out "$home/comparison"
fi
