-- 32-bit hashes of short texts, the twin of routing/assignment.py: FNV-1a, then the finaliser of MurmurHash3, because
-- the low bits of FNV alone follow the last characters too closely for shares of a few in ten thousand.
-- https://datatracker.ietf.org/doc/html/draft-eastlake-fnv, https://github.com/aappleby/smhasher
local hashing = {}
do
  local WORD = 4294967296
  local band, bxor, lshift, rshift, tobit = bit.band, bit.bxor, bit.lshift, bit.rshift, bit.tobit
  local byte = string.byte

  -- Words are kept as signed 32-bit numbers, which is what the bit operations give.
  -- a * b mod 2^32 by the halves of a: tobit is exact below 2^51, and a double below 2^53
  local function multiply(a, b)
    return tobit(band(a, 65535) * b + lshift(tobit(rshift(a, 16) * (b % 65536)), 16))
  end

  local function shifted(a, by)
    return bxor(a, rshift(a, by))
  end

  -- text -> 0 .. 2^32 - 1
  function hashing.hash(text)
    local value = tobit(2166136261)
    for at = 1, #text do
      local mixed = bxor(value, byte(text, at))
      value = tobit(lshift(mixed, 24) + mixed * 403) -- times 16777619, which is 2^24 + 403
    end
    value = multiply(shifted(value, 16), 2246822507)
    value = multiply(shifted(value, 13), 3266489909)
    return shifted(value, 16) % WORD
  end
end
