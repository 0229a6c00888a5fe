-- 32-bit hashes of short texts, the twin of routing/assignment.py: FNV-1a, then the finaliser of MurmurHash3, because
-- the low bits of FNV alone follow the last characters too closely for shares of a few in ten thousand.
-- https://datatracker.ietf.org/doc/html/draft-eastlake-fnv, https://github.com/aappleby/smhasher
local hashing = {}
do
  local WORD, HALF = 4294967296, 65536

  -- a * b mod 2^32, exact: a double holds whole numbers below 2^53 only
  local function multiply(a, b)
    local low = a % HALF
    local high = (a - low) / HALF
    return (low * b + high * (b % HALF) % HALF * HALF) % WORD
  end

  local function xor(a, b)
    return bit.bxor(a, b) % WORD
  end

  local function shifted(a, by)
    return xor(a, bit.rshift(a, by))
  end

  -- text -> 0 .. 2^32 - 1
  function hashing.hash(text)
    local value = 2166136261
    for at = 1, #text do
      value = multiply(xor(value, string.byte(text, at)), 16777619)
    end
    value = multiply(shifted(value, 16), 2246822507)
    value = multiply(shifted(value, 13), 3266489909)
    return shifted(value, 16)
  end
end
