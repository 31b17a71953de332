// What the model file says about itself: the JSON under metadata_props["perception"], format 1.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "json.hpp"

struct Group {
  std::string name;
  std::vector<std::string> classes;
};

// One output: how to read it. `kind` is boxes, mask, label, map or normals.
struct View {
  std::string name, kind, encoding, unit;
  std::vector<std::string> classes, categories, styles, directions;
  std::vector<Group> groups;
};

struct Description {
  std::string name;
  int height = 0, width = 0;  // of the model's input
  int pad_value = 114;
  std::vector<View> views;
};

// A whole number of the description, held to its range.
inline int whole(const Json& value, int least, int most) {
  if (!(value.number >= least && value.number <= most))
    throw std::runtime_error("the description holds a number out of range");
  return static_cast<int>(value.number);
}

inline View read_view(const Json& entry) {
  View view;
  view.name = entry.at("name").text;
  view.kind = entry.at("kind").text;
  // The name becomes a file name, so it must not lead anywhere.
  const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  if (view.name.empty() || view.name.find_first_not_of(allowed) != std::string::npos)
    throw std::runtime_error("the description names an output oddly");
  if (const Json* encoding = entry.find("encoding")) view.encoding = encoding->line();
  if (const Json* unit = entry.find("unit")) view.unit = unit->line();
  view.classes = entry.texts("classes");
  view.categories = entry.texts("categories");
  view.styles = entry.texts("styles");
  view.directions = entry.texts("directions");
  if (const Json* groups = entry.find("groups"))
    for (const Json& group : groups->items)
      view.groups.push_back({group.at("name").line(), group.texts("classes")});
  return view;
}

inline Description read_description(const std::string& text) {
  const Json data = JsonReader::read(text);
  if (data.at("format").number != 1) throw std::runtime_error("the description is not format 1");
  Description made;
  made.name = data.at("name").text;
  const std::vector<Json>& size = data.at("size_hw").items;
  if (size.size() != 2) throw std::runtime_error("the description's size_hw is not two numbers");
  made.height = whole(size[0], 1, 8192);
  made.width = whole(size[1], 1, 8192);
  made.pad_value = whole(data.at("letterbox").at("pad_value"), 0, 255);
  for (const Json& entry : data.at("tasks").items) made.views.push_back(read_view(entry));
  return made;
}
