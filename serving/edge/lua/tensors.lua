-- What both transports know about tensors: the V2 data types, and shapes that cannot overflow.
-- Types: https://github.com/kserve/open-inference-protocol (Tensor Data Types), plus Triton's BF16.
local tensors = { MAX_RANK = 32, MAX_TENSORS = 256, LONGEST_NAME = 128 }
do
  -- bytes per element in binary form; BYTES elements carry a 4-byte length each, so 4 is their least size
  tensors.SIZES = {
    BOOL = 1, UINT8 = 1, UINT16 = 2, UINT32 = 4, UINT64 = 8, INT8 = 1, INT16 = 2, INT32 = 4, INT64 = 8,
    FP16 = 2, BF16 = 2, FP32 = 4, FP64 = 8, BYTES = 4,
  }
  tensors.SHARED_MEMORY = {
    shared_memory_region = true, shared_memory_byte_size = true, shared_memory_offset = true,
  }

  function tensors.invalid(text)
    errors.raise("REQUEST_INVALID", text)
  end
  local invalid = tensors.invalid

  -- Multiply one more dimension on. Every dimension and the product stay at or below `limit`, a number of bytes that
  -- the request really has: this Triton allocates, overflows or aborts on larger ones (std::length_error, SIGSEGV).
  function tensors.grow(shape, dimension, limit, label)
    shape.rank = shape.rank + 1
    if shape.rank > tensors.MAX_RANK then invalid(label .. " has more than " .. tensors.MAX_RANK .. " dimensions") end
    if dimension < 0 then
      invalid(label .. " has the dimension " .. string.format("%.0f", dimension) .. "; expected 0 or more")
    end
    shape.elements = shape.elements * dimension
    if dimension > limit or shape.elements > limit then
      invalid(label .. " has a shape of more elements than the request has bytes (" .. limit .. ")")
    end
  end

  -- Servers quote names in their errors: no name may be a sentence.
  function tensors.check_name(name, label)
    if not string.find(name, "^[%w_.:/%-]+$") or #name > tensors.LONGEST_NAME then
      invalid(label .. " has the name '" .. errors.shown(name) .. "'; expected 1 to " .. tensors.LONGEST_NAME
        .. " letters, digits and _ . : / -")
    end
  end

  function tensors.refuse_count()
    invalid("the request has more than " .. tensors.MAX_TENSORS .. " tensors")
  end

  function tensors.size_of(datatype, label)
    local size = datatype and tensors.SIZES[datatype]
    if not size then
      invalid(label .. " has datatype " .. errors.shown(tostring(datatype)) .. "; expected one of BOOL, UINT8-64, "
        .. "INT8-64, FP16, BF16, FP32, FP64, BYTES")
    end
    return size
  end

  -- Triton 2.51 sorts an output's bytes as numbers to find its classes: asked of strings, that kills it (SIGFPE).
  function tensors.refuse_classification(label)
    invalid(label .. " asks for 'classification', which the edge does not pass on; take the scores and sort them")
  end

  function tensors.refuse_shared_memory(key, label)
    if tensors.SHARED_MEMORY[key] then
      invalid(label .. " asks for shared memory (" .. key .. "), which the edge does not pass on; send the data itself")
    end
  end
end
