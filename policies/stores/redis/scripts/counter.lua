-- The arithmetic of policies/stores/{windows,fixed-window,sliding-window,token-bucket}.ts, line by line.
-- A counter is a list of numbers, so that packing it is one call.
local FIXED, SLIDING = 1, 2
local ALGORITHM, LIMIT, WINDOW, BURST, AT, EPOCH, AMOUNT = 1, 2, 3, 4, 5, 6, 7
-- What was booked in slot s lies at SLOT + s % LIVE.
local SLOT, SLOTS, LIVE = 8, 12, 13
local INFINITE = -2

local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local function begin(algorithm, limit, window, burst, t, epoch)
  if algorithm == SLIDING then
    return { algorithm, limit, window, burst, t, epoch, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  end
  return { algorithm, limit, window, burst, t, epoch, algorithm == FIXED and 0 or burst * window }
end

local function slot_of(c, t)
  return floor(t * SLOTS / c[WINDOW])
end

-- The milliseconds from the counter's clock to the beginning of a slot.
local function until_slot(c, slot)
  return ceil(slot * c[WINDOW] / SLOTS) - c[AT]
end

local function booked(c)
  return c[8] + c[9] + c[10] + c[11] + c[12] + c[13] + c[14] + c[15] + c[16] + c[17] + c[18] + c[19] + c[20]
end

local function book(c, amount)
  local index = SLOT + slot_of(c, c[AT]) % LIVE
  c[index] = c[index] + amount
end

local function pay_debt(c)
  if c[AMOUNT] == 0 then return end
  local paid = min(c[AMOUNT], max(0, c[LIMIT] - booked(c)))
  c[AMOUNT] = c[AMOUNT] - paid
  book(c, paid)
end

local function touch(c, t, epoch)
  local algorithm, limit, window, at = c[ALGORITHM], c[LIMIT], c[WINDOW], c[AT]
  if at > t + window then
    c[EPOCH] = epoch
    c[AT] = t
    if algorithm == SLIDING then
      local live = booked(c)
      for index = SLOT, SLOT + SLOTS do c[index] = 0 end
      book(c, live)
      pay_debt(c)
    elseif algorithm ~= FIXED then
      c[AMOUNT] = min(c[BURST] * window, c[AMOUNT])
    end
    return
  end
  if t < at then t = at end
  c[AT] = t
  if algorithm == SLIDING then
    local last = floor(at * SLOTS / window)
    local slot = floor(t * SLOTS / window)
    local moved = slot - last
    if moved >= LIVE then
      for index = SLOT, SLOT + SLOTS do c[index] = 0 end
    else
      for left = last + 1, slot do c[SLOT + left % LIVE] = 0 end
    end
    if c[AMOUNT] == 0 then return end
    c[AMOUNT] = max(0, c[AMOUNT] - limit * floor(moved / LIVE))
    pay_debt(c)
  elseif algorithm == FIXED then
    local moved = floor(t / window) - floor(at / window)
    if moved > 0 then c[AMOUNT] = max(0, c[AMOUNT] - moved * limit) end
  else
    c[AMOUNT] = min(c[BURST] * window, c[AMOUNT] + (t - at) * limit)
  end
end

local function room(c)
  local algorithm = c[ALGORITHM]
  if algorithm == SLIDING then return c[AMOUNT] > 0 and 0 or c[LIMIT] - booked(c) end
  if algorithm == FIXED then return c[LIMIT] - c[AMOUNT] end
  return floor(c[AMOUNT] / c[WINDOW])
end

local function take(c, amount)
  local algorithm = c[ALGORITHM]
  if algorithm == SLIDING then
    book(c, amount)
  elseif algorithm == FIXED then
    c[AMOUNT] = c[AMOUNT] + amount
  else
    c[AMOUNT] = c[AMOUNT] - amount * c[WINDOW]
  end
end

local function refund(c, amount, at)
  local algorithm, window = c[ALGORITHM], c[WINDOW]
  if algorithm == SLIDING then
    local slot = slot_of(c, at)
    local age = slot_of(c, c[AT]) - slot
    if age < 0 or age >= LIVE then return end
    local index = SLOT + slot % LIVE
    c[index] = max(0, c[index] - amount)
    pay_debt(c)
  elseif algorithm == FIXED then
    if floor(at / window) ~= floor(c[AT] / window) then return end
    c[AMOUNT] = max(0, c[AMOUNT] - amount)
  else
    if (c[AT] - at) * c[LIMIT] > c[BURST] * window then return end
    c[AMOUNT] = min(c[BURST] * window, c[AMOUNT] + amount * window)
  end
end

local function charge(c, amount)
  if c[ALGORITHM] == SLIDING then
    c[AMOUNT] = c[AMOUNT] + amount
    pay_debt(c)
  else
    take(c, amount)
  end
end

local function remaining(c)
  if c[ALGORITHM] == SLIDING then return max(0, c[LIMIT] - booked(c)) end
  return max(0, room(c))
end

local function reset_ms(c)
  local algorithm, limit, window = c[ALGORITHM], c[LIMIT], c[WINDOW]
  if algorithm == SLIDING then
    local slot = slot_of(c, c[AT])
    local debt_ms = ceil(c[AMOUNT] / limit) * window
    for age = 0, SLOTS do
      if c[SLOT + (slot - age) % LIVE] > 0 then return until_slot(c, slot - age + LIVE) + debt_ms end
    end
    return debt_ms
  end
  if algorithm == FIXED then
    return (floor(c[AT] / window) + max(1, ceil(c[AMOUNT] / limit))) * window - c[AT]
  end
  return ceil((c[BURST] * window - c[AMOUNT]) / limit)
end

local function retry_after_ms(c, amount)
  local algorithm, limit, window = c[ALGORITHM], c[LIMIT], c[WINDOW]
  if algorithm == SLIDING then
    if amount > limit then return INFINITE end
    local debt_ms = ceil(c[AMOUNT] / limit) * window
    local slot = slot_of(c, c[AT])
    local used = booked(c)
    if used <= limit - amount then return debt_ms end
    for age = SLOTS, 0, -1 do
      used = used - c[SLOT + (slot - age) % LIVE]
      if used <= limit - amount then return until_slot(c, slot - age + LIVE) + debt_ms end
    end
    return INFINITE
  end
  if algorithm == FIXED then
    if amount > limit then return INFINITE end
    local over = c[AMOUNT] + amount - limit
    if over <= 0 then return 0 end
    return (floor(c[AT] / window) + max(1, ceil(over / limit))) * window - c[AT]
  end
  if amount > c[BURST] then return INFINITE end
  return max(0, ceil((amount * window - c[AMOUNT]) / limit))
end

-- From when on forgetting the counter changes nothing: it is whole, and its clock a window old.
local function forgettable_at(c)
  local algorithm, limit, window, at = c[ALGORITHM], c[LIMIT], c[WINDOW], c[AT]
  if algorithm == SLIDING then
    return at + until_slot(c, slot_of(c, at) + LIVE * max(1, ceil(c[AMOUNT] / limit)))
  end
  return at + max(window, reset_ms(c))
end
