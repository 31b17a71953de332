// The JSON under metadata_props["perception"] of a model file, format 1, as structs.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

struct Group {
  std::string name;
  std::vector<std::string> classes;
};

// One output: how to read it. `kind` is boxes, mask, label, map or normals; `classes` of lanes are
// their categories.
struct View {
  std::string name, kind, encoding, unit;
  std::vector<std::string> classes;
  std::vector<Group> groups;
};

struct Description {
  std::string name;
  int height = 0, width = 0;  // of the model's input
  int pad_value = 114;
  std::vector<View> views;
};

using Json = nlohmann::json;

// Python writes NaN and Infinity where a score is undefined; JSON has neither: null instead.
inline std::string without_nan(const std::string& text) {
  std::string made;
  bool quoted = false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (quoted && text[at] == '\\' && at + 1 < text.size()) {
      made += text[at++];
    } else if (text[at] == '"') {
      quoted = !quoted;
    } else if (!quoted) {
      size_t length = 0;
      for (const std::string word : {"NaN", "Infinity", "-Infinity"})
        if (text.compare(at, word.size(), word) == 0) length = word.size();
      if (length) {
        made += "null";
        at += length - 1;
        continue;
      }
    }
    made += text[at];
  }
  return made;
}

// The text without control characters: it is printed in tab-separated columns.
inline std::string printable(std::string text) {
  for (char& letter : text)
    if (static_cast<unsigned char>(letter) < ' ' || letter == 127) letter = ' ';
  return text;
}

inline std::vector<std::string> printable_list(const Json& entry, const char* name) {
  std::vector<std::string> texts = entry.value(name, std::vector<std::string>{});
  for (std::string& text : texts) text = printable(text);
  return texts;
}

// A whole number of the description, held to its range.
inline int whole(const Json& value, int least, int most) {
  const double number = value.get<double>();
  if (!(number >= least && number <= most))
    throw std::runtime_error("the description holds a number out of range");
  return static_cast<int>(number);
}

inline View read_view(const Json& entry) {
  View view;
  view.name = entry.at("name").get<std::string>();
  view.kind = entry.at("kind").get<std::string>();
  // The name becomes a file name, so it must not contain a path.
  const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  if (view.name.empty() || view.name.find_first_not_of(allowed) != std::string::npos)
    throw std::runtime_error("the description has an output name with other characters than a-z, "
                             "A-Z, 0-9, _ and -");
  view.encoding = printable(entry.value("encoding", ""));
  view.unit = printable(entry.value("unit", ""));
  view.classes = printable_list(entry, entry.contains("categories") ? "categories" : "classes");
  for (const Json& group : entry.value("groups", Json::array()))
    view.groups.push_back(
        {printable(group.at("name").get<std::string>()), printable_list(group, "classes")});
  return view;
}

inline Description read_description(const std::string& text) {
  if (text.size() > 16u << 20) throw std::runtime_error("the description is too long");
  const auto shallow = [](int depth, Json::parse_event_t, Json&) {
    if (depth > 32) throw std::runtime_error("the description is nested too deep");
    return true;
  };
  try {
    const Json data = Json::parse(without_nan(text), shallow);
    if (data.at("format") != 1) throw std::runtime_error("the description is not format 1");
    const Json& size = data.at("size_hw");
    if (size.size() != 2) throw std::runtime_error("the description's size_hw is not two numbers");
    Description made;
    made.name = data.at("name").get<std::string>();
    made.height = whole(size.at(0), 1, 8192);
    made.width = whole(size.at(1), 1, 8192);
    made.pad_value = whole(data.at("letterbox").at("pad_value"), 0, 255);
    for (const Json& entry : data.at("tasks")) made.views.push_back(read_view(entry));
    return made;
  } catch (const Json::exception& error) {
    throw std::runtime_error(std::string("the description cannot be read: ") + error.what());
  }
}
