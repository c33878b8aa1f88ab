# shellcheck shell=bash disable=SC2154 # what parse_options.sh and the recipe set
# Stages of a recipe. Sourced by its run.sh after parse_options.sh, whose options stage and stop_stage it takes:
#
#   if stage 4 "extract embeddings"; then
#     ...
#   fi
#
# The stages of a recipe are its lines that begin with `if stage N `. A range in which none would run is an error, exit status 2.
# Each stage says when it starts and how long it took; where the recipe fails, one line says how to go on. SIGTERM and SIGHUP to run.sh
# reach the step at work: bash runs the EXIT trap at once, while its child runs on, and the trap ends the child.

_current='' # the stage at work
_bystanders=''

_check_stages() {
  local _name _stages _first _last
  mapfile -t _stages < <(sed -nE 's/^if stage ([0-9]+) .*/\1/p' "$_script")
  ((${#_stages[@]})) || _option_fail "no line begins with 'if stage N '"
  _first=${_stages[0]} _last=${_stages[${#_stages[@]} - 1]}
  for _name in stage stop_stage; do
    [[ ${!_name-} =~ ^-?(0|[1-9][0-9]{0,5})$ ]] || _option_fail "--${_name/_/-}: a whole number expected, not '${!_name-}'"
    ((_first <= ${!_name} && ${!_name} <= _last)) || _option_fail "--${_name/_/-} ${!_name}: ${0##*/} has stages $_first to $_last"
  done
  ((stage <= stop_stage)) || _option_fail "--stage $stage --stop-stage $stop_stage: no stage would run"
}

stage() { # true where stage $1, of title $2, is to run
  _end_stage
  (($1 >= stage && $1 <= stop_stage)) || return 1
  _current=$1 _began=$SECONDS
  _bystanders=" $(pgrep -d ' ' -P $$ 2>/dev/null || true) " # e.g. the tee of `exec > >(tee log)`
  printf '== stage %s, %s: %s\n' "$1" "$(date +%H:%M:%S)" "$2"
}

_end_stage() {
  local _took
  [[ -n $_current ]] || return 0
  _took=$((SECONDS - _began))
  if ((_took < 100)); then
    printf '== stage %s took %d s\n' "$_current" $_took
  elif ((_took < 6000)); then
    printf '== stage %s took %d:%02d min\n' "$_current" $((_took / 60)) $((_took % 60))
  else
    printf '== stage %s took %d:%02d h\n' "$_current" $((_took / 3600)) $((_took / 60 % 60))
  fi
  _current=''
}

_leave() { # at the end of the recipe, with exit status $1
  local _pid _how="failed; once mended, go on with"
  [[ -n $_current ]] || return 0
  (($1 != 130 && $1 != 143)) || _how="was stopped; go on with"
  for _pid in $(pgrep -P $$ 2>/dev/null || true); do
    if [[ $_bystanders != *" $_pid "* ]] && kill -TERM "$_pid" 2>/dev/null; then
      _how="was stopped; go on with"
    fi
  done
  if (($1 == 0)) && [[ $_how == failed* ]]; then
    _end_stage
  else
    printf '%s: stage %s %s: %q --stage %s%s\n' "${0##*/}" "$_current" "$_how" "$0" "$_current" "$_others" >&2
  fi
}

_check_stages
_others=''
((${#_other_words[@]} == 0)) || printf -v _others ' %q' "${_other_words[@]}"
trap '_leave $?' EXIT
