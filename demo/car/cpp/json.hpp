// A JSON reader for the description inside a model file: bounded, and nothing more than needed.
#pragma once

#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct Json {
  enum class Kind { null, boolean, number, text, list, object } kind = Kind::null;
  double number = 0;  // also 0 and 1 for booleans
  std::string text;   // UTF-8
  std::vector<Json> items;
  std::vector<std::pair<std::string, Json>> fields;

  const Json* find(const std::string& name) const {
    for (const auto& field : fields)
      if (field.first == name) return &field.second;
    return nullptr;
  }

  // Throws where an object has no such field.
  const Json& at(const std::string& name) const {
    const Json* found = find(name);
    if (!found) throw std::runtime_error("the description lacks '" + name + "'");
    return *found;
  }

  // The text without control characters: it is printed, in lines of columns.
  std::string line() const {
    std::string made = text;
    for (char& letter : made)
      if (static_cast<unsigned char>(letter) < ' ' || letter == 127) letter = ' ';
    return made;
  }

  // The texts of a list; empty where the field is absent.
  std::vector<std::string> texts(const std::string& name) const {
    std::vector<std::string> all;
    if (const Json* found = find(name))
      for (const Json& item : found->items) all.push_back(item.line());
    return all;
  }
};

class JsonReader {
 public:
  static Json read(const std::string& source) {
    if (source.size() > max_bytes) throw std::runtime_error("the description is too long");
    JsonReader reader(source);
    Json value = reader.value(0);
    reader.skip();
    if (reader.at != source.size()) reader.fail();
    return value;
  }

 private:
  static constexpr size_t max_bytes = 16u << 20;
  static constexpr int max_depth = 32;
  const std::string& source;
  size_t at = 0;

  explicit JsonReader(const std::string& text) : source(text) {}

  [[noreturn]] void fail() const {
    throw std::runtime_error("the description is not JSON at character " + std::to_string(at));
  }

  void skip() {
    while (at < source.size() && (source[at] == ' ' || (source[at] >= '\t' && source[at] <= '\r')))
      ++at;
  }

  bool take(const std::string& word) {
    if (source.compare(at, word.size(), word) != 0) return false;
    at += word.size();
    return true;
  }

  Json value(int depth) {
    if (depth > max_depth) fail();
    skip();
    if (at >= source.size()) fail();
    Json made;
    if (source[at] == '{') return object(depth);
    if (source[at] == '[') return list(depth);
    if (source[at] == '"') {
      made.kind = Json::Kind::text;
      made.text = string();
    } else if (take("true") || take("false")) {
      made.kind = Json::Kind::boolean;
      made.number = source[at - 2] == 'u';
    } else if (!take("null")) {
      made.kind = Json::Kind::number;
      made.number = number();
    }
    return made;
  }

  Json object(int depth) {
    Json made;
    made.kind = Json::Kind::object;
    ++at;
    for (skip(); !take("}"); skip()) {
      if (!made.fields.empty() && !take(",")) fail();
      skip();
      if (at >= source.size() || source[at] != '"') fail();
      std::string name = string();
      skip();
      if (!take(":")) fail();
      made.fields.emplace_back(std::move(name), value(depth + 1));
    }
    return made;
  }

  Json list(int depth) {
    Json made;
    made.kind = Json::Kind::list;
    ++at;
    for (skip(); !take("]"); skip()) {
      if (!made.items.empty() && !take(",")) fail();
      made.items.push_back(value(depth + 1));
    }
    return made;
  }

  // Python writes NaN and Infinity where a score is undefined, and they are read.
  double number() {
    if (take("NaN")) return std::numeric_limits<double>::quiet_NaN();
    if (take("Infinity")) return std::numeric_limits<double>::infinity();
    if (take("-Infinity")) return -std::numeric_limits<double>::infinity();
    if (source.find_first_of("-0123456789", at) != at) fail();
    char* end = nullptr;
    const double read = std::strtod(source.c_str() + at, &end);
    if (end == source.c_str() + at) fail();
    at = static_cast<size_t>(end - source.c_str());
    return read;
  }

  std::string string() {
    std::string made;
    for (++at; at < source.size() && source[at] != '"'; ++at) {
      if (source[at] != '\\') {
        made += source[at];
        continue;
      }
      if (++at >= source.size()) fail();
      static const std::string from = "\"\\/bfnrt", to = "\"\\/\b\f\n\r\t";
      const size_t which = from.find(source[at]);
      if (which != std::string::npos) made += to[which];
      else if (source[at] == 'u') escape(made);
      else fail();
    }
    if (at >= source.size()) fail();
    ++at;
    return made;
  }

  unsigned hex() {
    if (at + 4 >= source.size()) fail();
    const std::string digits = source.substr(at + 1, 4);
    if (digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) fail();
    at += 4;
    return static_cast<unsigned>(std::stoul(digits, nullptr, 16));
  }

  // \uXXXX, or two of them for a character beyond the first 65536, as UTF-8.
  void escape(std::string& out) {
    unsigned code = hex();
    if (code >= 0xD800 && code < 0xDC00 && source.compare(at + 1, 2, "\\u") == 0) {
      at += 2;
      code = 0x10000 + ((code - 0xD800) << 10) + ((hex() - 0xDC00) & 0x3FF);
    }
    const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char head[] = {0x00, 0xC0, 0xE0, 0xF0};
    out += static_cast<char>(head[more] | (code >> (6 * more)));
    for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F));
  }
};
