-- SPDX-License-Identifier: MIT
-- Tables, closures and strings, with the collector at work.
local people = {}
for round = 1, 5 do
    for i = 1, 20000 do
        local name = "person " .. (i * 7919 % 20011)
        people[name] = { name = name, born = 1900 + i % 100, tags = { i, i * 2, tostring(i) }, say = function() return name end }
    end
    local parts = {}
    for name, person in pairs(people) do
        if #parts < 5000 then parts[#parts + 1] = person.say():upper() .. #person.tags end
    end
    table.sort(parts)
    assert(#table.concat(parts, ",") > 50000)
    for i = 1, 20011, 3 do people["person " .. i] = nil end
end
