# shellcheck shell=bash
# Options of a recipe. Sourced by its run.sh, below the lines that declare them:
#
#   stage=1                   # first stage to run
#   model_args="a=1 b=2"      # arguments of the network
#   . ../../../utils/parse_options.sh
#
# An option is a line `name=default  # help` that begins in the first column above the sourcing, and nothing else is one. `--my-opt v`,
# `--my_opt v` and `--my-opt=v` set my_opt. true or false, whole numbers and numbers stay such; any other default takes any text.
# `--config FILE` reads lines `--name=value` (`#` comments), which the command line overrides. `--help` is made from the declarations and
# the comment at the head of run.sh. A wrong option is one line on stderr and exit status 2.
#
# Option names begin with a letter and all variables here with _, so that neither can shadow the other.

_script=$0
[[ -r $_script ]] || _script=./${0##*/} # the recipe has changed to its own folder
_names=() _defaults=() _helps=()
_other_words=() # the command line without --stage; stage.sh says with it how to go on

_option_fail() {
  printf '%s: %s\n' "${0##*/}" "${1//$'\n'/ }" >&2
  exit 2
}

_read_declarations() {
  local _line _quoted="\"([^\"\\\\]|\\\\.)*\"|'[^']*'" _declaration
  _declaration="^([A-Za-z][A-Za-z0-9_]*)=($_quoted|[^[:space:]\"'])*[[:space:]]+#[[:space:]]*(.+)$"
  while IFS= read -r _line || [[ -n $_line ]]; do
    if [[ $_line =~ ^[[:space:]]*(\.|source)[[:space:]].*parse_options\.sh ]]; then
      break
    elif [[ $_line =~ $_declaration ]]; then
      _names+=("${BASH_REMATCH[1]}")
      _helps+=("${BASH_REMATCH[4]}")
      _defaults+=("${!BASH_REMATCH[1]-}")
    fi
  done <"$_script"
}

_find_option() { # sets _found to the place of option $1 in _names
  for _found in ${_names[@]+"${!_names[@]}"}; do
    [[ ${_names[_found]} != "$1" ]] || return 0
  done
  return 1
}

_find_like() { # sets _like to the option most like $1, if any: one that differs in one place only, by at most two letters or by a missing part
  local _name _a _b _differ _least=3
  _like=
  for _name in ${_names[@]+"${_names[@]}"} config help; do
    _a=$1 _b=$_name
    while [[ -n $_a && ${_a:0:1} == "${_b:0:1}" ]]; do _a=${_a:1} _b=${_b:1}; done
    while [[ -n $_a && -n $_b && ${_a: -1} == "${_b: -1}" ]]; do _a=${_a%?} _b=${_b%?}; done
    _differ=$((${#_a} > ${#_b} ? ${#_a} : ${#_b}))
    if [[ -z $_a || -z $_b ]] && ((${#1} >= 3 && ${#_name} >= 3 && _differ > 2)); then _differ=2; fi
    if ((_differ < _least && _differ < ${#1})); then _least=$_differ _like=$_name; fi
  done
}

_need_option() { # fails unless $1, as written in $2, is an option; $3 is the place where it stands, if in a file
  _find_option "$1" && return
  _find_like "$1"
  _option_fail "${3-}unknown option $2${_like:+ (is --${_like//_/-} meant?)}; --help lists the options"
}

_set_option() { # option $1 gets value $2; $3 is the place where it stands, if in a file
  local _default _expected='' _whole='^[+-]?[0-9]+$' _number='^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$'
  _find_option "$1"
  _default=${_defaults[_found]}
  if [[ $_default == true || $_default == false ]]; then
    [[ $2 == true || $2 == false ]] || _expected="true or false"
  elif [[ $_default =~ $_whole ]]; then
    [[ $2 =~ $_whole ]] || _expected="a whole number"
  elif [[ $_default =~ $_number ]]; then
    [[ $2 =~ $_number ]] || _expected="a number"
  fi
  [[ -z $_expected ]] || _option_fail "${3-}--${1//_/-}: $_expected expected, not '$2'"
  printf -v "$1" %s "$2"
}

_trim() { # sets _trimmed to $1 without blanks around it
  _trimmed=${1#"${1%%[![:space:]]*}"}
  _trimmed=${_trimmed%"${_trimmed##*[![:space:]]}"}
}

_read_config() { # sets the options that file $1 names
  local _line _number=0 _name
  [[ -r $1 && ! -d $1 ]] || _option_fail "--config $1: no such file"
  while IFS= read -r _line || [[ -n $_line ]]; do
    _number=$((_number + 1))
    _trim "${_line%%#*}"
    _line=$_trimmed
    [[ -n $_line ]] || continue
    [[ $_line == *=* ]] || _option_fail "$1:$_number: --name=value expected, not '$_line'"
    _trim "${_line%%=*}"
    _name=${_trimmed#--}
    _name=${_name//-/_}
    _need_option "$_name" "--${_trimmed#--}" "$1:$_number: "
    _trim "${_line#*=}"
    _set_option "$_name" "$_trimmed" "$1:$_number: "
  done <"$1"
}

_read_configs() { # the files named in a command line, before any other of its options counts
  while (($#)); do
    case $1 in
    --config=*) _read_config "${1#*=}" ;;
    --config) [[ $# -lt 2 ]] || _read_config "$2" ;;
    esac
    shift
  done
}

_is_option() { # true where $1 is written like an option that exists: then it is no value of the word before it
  local _name=${1%%=*}
  [[ $1 == --* ]] || return 1
  _name=${_name#--}
  _name=${_name//-/_}
  [[ $_name == config || $_name == help ]] || _find_option "$_name"
}

_read_words() { # the command line
  local _word _name _value
  while (($#)); do
    _word=${1%%=*}
    _name=${_word#--}
    _name=${_name//-/_}
    case $1 in
    -h | --help)
      _print_help
      exit 0
      ;;
    --) _option_fail "a recipe takes options only, not '$1'; --help lists them" ;;
    -?*) [[ $_name == config ]] || _need_option "$_name" "$_word" ;;
    *) _option_fail "a recipe takes options only, not '$1'; --help lists them" ;;
    esac
    [[ $_name == stage ]] || _other_words+=("$1")
    if [[ $1 == *=* ]]; then
      _value=${1#*=}
    elif (($# < 2)) || _is_option "$2"; then
      _option_fail "$_word: its value is missing"
    else
      shift
      _value=$1
      [[ $_name == stage ]] || _other_words+=("$1")
    fi
    shift
    [[ $_name == config ]] || _set_option "$_name" "$_value"
  done
}

_print_help() {
  local _line _row _value _wide=8 _wide_value=4 _example=''
  while IFS= read -r _line && [[ $_line == '#'* ]]; do
    if [[ $_line != '#!'* && $_line != '# shellcheck'* ]]; then
      _line=${_line#\#}
      printf '%s\n' "${_line# }"
    fi
  done <"$_script"
  ! _find_option stage || _example+=" --stage 3"
  ! _find_option nj || _example+=" --nj 4"
  printf '\ne.g. %s%s\n\noptions, with their defaults:\n' "$0" "$_example"
  for _row in ${_names[@]+"${_names[@]}"}; do
    _value=${!_row}
    ((${#_row} + 2 <= _wide)) || _wide=$((${#_row} + 2))
    ((${#_value} + 2 <= _wide_value || ${#_value} > 30)) || _wide_value=$((${#_value} + 2))
  done
  for _row in ${_names[@]+"${!_names[@]}"}; do
    _value=${!_names[_row]}
    [[ -n $_value && $_value != *[[:space:]]* ]] || _value="'$_value'"
    printf "  %-${_wide}s  %-${_wide_value}s  %s\n" "--${_names[_row]//_/-}" "$_value" "${_helps[_row]}"
  done
  printf "  %-${_wide}s  %-${_wide_value}s  %s\n" --config FILE "file of options, one --name=value per line; the command line wins" --help "" "this text"
}

_read_declarations
_read_configs "$@"
_read_words "$@"
