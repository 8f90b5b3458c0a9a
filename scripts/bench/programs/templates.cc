// SPDX-License-Identifier: MIT
// Something for the compiler to chew on: a little of the standard library's containers.
#include <map>
#include <string>
#include <vector>

std::map<std::string, std::vector<int>> index_of(const std::vector<std::string> &words)
{
    std::map<std::string, std::vector<int>> result;

    for (std::size_t i = 0; i < words.size(); i++)
        result[words[i] + "!"].push_back(static_cast<int>(i));
    return result;
}
