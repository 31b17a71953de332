// perceive_frame MODEL.onnx FRAME.ppm OUT_DIR: run the model on one frame, in C++.
//
// All a consumer needs: letterbox, one ONNX Runtime call, and the JSON in the model file that
// describes each output. No task is named here; see README.md in this folder.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "description.hpp"
#include "image.hpp"
#include "letterbox.hpp"

struct Options {
  std::string model, frame, out;
  long raw_height = 0, raw_width = 0;  // of a raw BGR file; 0: PPM or PGM
  double score = 0.3;
  int threads = 0;  // 0: the runtime's default
  int repeat = 1;
};

// A complete argument as a number.
double number(const std::string& option, const std::string& word) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (word.empty() || *end || !(value >= 0 && value <= 1e6))
    throw std::runtime_error(option + " " + word + ": give a number");
  return value;
}

Options parse(int count, char** words) {
  Options made;
  std::vector<std::string> places;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("--", 0) != 0) {
      places.push_back(word);
      continue;
    }
    if (i + 1 >= count) throw std::runtime_error(word + " needs a value");
    const std::string value = words[++i];
    if (word == "--score") made.score = number(word, value);
    else if (word == "--threads") made.threads = int(number(word, value));
    else if (word == "--repeat") made.repeat = std::max(1, int(number(word, value)));
    else if (word == "--bgr" &&
             std::sscanf(value.c_str(), "%ldx%ld", &made.raw_width, &made.raw_height) == 2) {
    } else throw std::runtime_error("unknown option or value: " + word + " " + value);
  }
  if (places.size() != 3)
    throw std::runtime_error(
        "usage: perceive_frame MODEL.onnx FRAME.ppm OUT_DIR [--bgr WxH] [--score 0.3] "
        "[--threads 2] [--repeat 20]");
  made.model = places[0], made.frame = places[1], made.out = places[2];
  return made;
}

// One model file, loaded once.
class Model {
 public:
  Description description;

  Model(const std::string& path, int threads) : session(env(), path.c_str(), options(threads)) {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto text =
        session.GetModelMetadata().LookupCustomMetadataMapAllocated("perception", allocator);
    if (!text) throw std::runtime_error(path + ": no 'perception' description; use export-onnx");
    description = read_description(text.get());
    for (const View& view : description.views) names.push_back(view.name.c_str());
    input_name = session.GetInputNameAllocated(0, allocator).get();
  }

  // One output per view, in the description's order. `image` is the letterboxed frame.
  std::vector<Ort::Value> run(Image& image) {
    const int64_t shape[] = {1, image.height, image.width, 3};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
    const Ort::Value input = Ort::Value::CreateTensor<uint8_t>(
        memory, image.data.data(), image.data.size(), shape, 4);
    const char* inputs[] = {input_name.c_str()};
    return session.Run(Ort::RunOptions{}, inputs, &input, 1, names.data(), names.size());
  }

 private:
  Ort::Session session;
  std::string input_name;
  std::vector<const char*> names;

  static Ort::Env& env() {
    static Ort::Env made(ORT_LOGGING_LEVEL_ERROR, "perceive");
    return made;
  }

  // Append an accelerator here: options.AppendExecutionProvider_CUDA(...), for instance.
  static Ort::SessionOptions options(int threads) {
    Ort::SessionOptions made;
    made.SetIntraOpNumThreads(threads);
    return made;
  }
};

// The output's numbers, once their type and shape are what the kind says; `sides` are the last
// dimensions, -1 for any. Model files are not trusted.
template <typename Number>
const Number* checked(const Ort::Value& value, const View& view, std::vector<int64_t> sides) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  std::vector<int64_t> shape = info.GetShape();
  const auto type = sizeof(Number) == 1 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
                                        : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  if (shape.size() == sides.size() + 1 && shape[0] == 1) shape.erase(shape.begin());
  bool fits = info.GetElementType() == type && shape.size() == sides.size();
  for (size_t i = 0; fits && i < sides.size(); ++i)
    fits = sides[i] < 0 || sides[i] == shape[i];
  if (!fits) throw std::runtime_error("output " + view.name + " does not fit its kind");
  return value.GetTensorData<Number>();
}

int64_t rows_of(const Ort::Value& value, size_t from_end) {
  const auto shape = value.GetTensorTypeAndShapeInfo().GetShape();
  return shape.size() < from_end ? 0 : shape[shape.size() - from_end];
}

// A detection in pixels of the frame.
struct Box {
  double x1, y1, x2, y2, score;
  std::string name;
};

// Rows of x1 y1 x2 y2 score class, best first, in frame pixels.
std::vector<Box> read_boxes(const Ort::Value& value, const View& view, const Letterbox& box) {
  std::vector<Box> found;
  const float* row = checked<float>(value, view, {-1, 6});
  for (const float* end = row + 6 * rows_of(value, 2); row < end; row += 6) {
    const bool numbers = std::all_of(row, row + 6, [](float v) { return std::isfinite(v); });
    if (!numbers || row[5] < 0 || row[5] >= float(view.classes.size())) continue;
    const Box made{box.frame_x(row[0]), box.frame_y(row[1]), box.frame_x(row[2]),
                   box.frame_y(row[3]), row[4], view.classes[size_t(row[5])]};
    if (made.x2 > made.x1 && made.y2 > made.y1) found.push_back(made);  // not in the padding
  }
  return found;
}

void print_boxes(const std::vector<Box>& boxes, const View& view, double score) {
  for (const Box& one : boxes)
    if (one.score >= score)
      std::printf("box\t%s\t%s\t%.4f\t%.2f\t%.2f\t%.2f\t%.2f\n", view.name.c_str(),
                  one.name.c_str(), one.score, one.x1, one.y1, one.x2, one.y2);
}

// One row of probabilities per group, padded with zeros: the most likely class is printed.
void print_labels(const Ort::Value& value, const View& view) {
  const float* row = checked<float>(value, view, {int64_t(view.groups.size()), -1});
  const auto columns = size_t(rows_of(value, 1));
  for (const Group& group : view.groups) {
    const size_t classes = std::min(columns, group.classes.size());
    const size_t best = size_t(std::max_element(row, row + classes) - row);
    if (classes)
      std::printf("label\t%s\t%s\t%s\t%.4f\n", view.name.c_str(), group.name.c_str(),
                  group.classes[best].c_str(), row[best]);
    row += columns;
  }
}

// The share of the frame that each class of a mask covers, where it covers any.
void print_shares(const Image& mask, const View& view) {
  const bool lane = view.encoding == "bdd100k-lane-byte";  // bits 0 to 2: category; bit 3: no lane
  std::vector<size_t> pixels(view.classes.size());
  for (const uint8_t value : mask.data) {
    const size_t index = lane ? value & 7 : value;
    if (index < pixels.size() && !(lane && value & 8)) ++pixels[index];
  }
  for (size_t i = 0; i < pixels.size(); ++i)
    if (pixels[i])
      std::printf("class\t%s\t%s\t%.4f\n", view.name.c_str(), view.classes[i].c_str(),
                  double(pixels[i]) / double(mask.data.size()));
}

// The mask at frame size, its values as they are: class indices, or the lane byte's bits.
void save_mask(const Ort::Value& value, const View& view, const Letterbox& box,
               const std::string& out) {
  const uint8_t* mask = checked<uint8_t>(value, view, {box.height, box.width});
  const std::string path = out + "/" + view.name + ".pgm";
  const Image full = mask_to_frame(mask, box);
  write_pgm(path, full);
  std::printf("mask\t%s\t%s\t%s\n", view.name.c_str(), view.encoding.c_str(), path.c_str());
  print_shares(full, view);
}

// Distances or normals at the model's resolution, without the padding.
void save_map(const Ort::Value& value, const View& view, const Letterbox& box,
              const std::string& out) {
  const bool vectors = view.kind == "normals";
  std::vector<int64_t> sides = {box.height, box.width};
  if (vectors) sides.insert(sides.begin(), 3);
  const float* from = checked<float>(value, view, sides);
  std::vector<float> inner;
  for (int plane = 0; plane < (vectors ? 3 : 1); ++plane)
    for (int y = box.top; y < box.top + box.inner_h; ++y) {
      const float* row = from + (size_t(plane) * size_t(box.height) + size_t(y)) * size_t(box.width);
      inner.insert(inner.end(), row + box.left, row + box.left + box.inner_w);
    }
  const std::string path = out + "/" + view.name + ".pfm";
  write_pfm(path, inner, vectors ? 3 : 1, box.inner_h, box.inner_w);
  std::printf("map\t%s\t%s\t%s\n", view.name.c_str(), view.unit.c_str(), path.c_str());
}

void print_outputs(const std::vector<Ort::Value>& outputs, const Description& description,
          const Letterbox& box, const Options& options) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const View& view = description.views[i];
    if (view.kind == "boxes")
      print_boxes(read_boxes(outputs[i], view, box), view, options.score);
    else if (view.kind == "label") print_labels(outputs[i], view);
    else if (view.kind == "mask") save_mask(outputs[i], view, box, options.out);
    else if (view.kind == "map" || view.kind == "normals")
      save_map(outputs[i], view, box, options.out);
    else throw std::runtime_error("output " + view.name + " has unknown kind " + view.kind);
  }
}

// Median and slowest of the repeated runs, letterbox and model apart, on stderr.
void print_times(std::vector<double>& prepare, std::vector<double>& model) {
  std::sort(prepare.begin(), prepare.end());
  std::sort(model.begin(), model.end());
  const size_t middle = model.size() / 2;
  std::fprintf(stderr, "%zu runs: letterbox %.1f ms, model %.1f ms (slowest %.1f)\n", model.size(),
               prepare[middle], model[middle], model.back());
}

int perceive(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto ms = [](Clock::duration d) { return std::chrono::duration<double>(d).count() * 1e3; };
  Model model(options.model, options.threads);
  const Image frame = options.raw_height
                          ? read_raw_bgr(options.frame, options.raw_height, options.raw_width)
                          : read_pnm(options.frame);
  const Description& description = model.description;
  const Letterbox box(frame.height, frame.width, description.height, description.width);
  std::filesystem::create_directories(options.out);
  std::vector<double> prepare, run;
  std::vector<Ort::Value> outputs;
  for (int i = 0; i < options.repeat; ++i) {
    const auto start = Clock::now();
    Image image = letterbox(frame, box, description.pad_value);
    const auto ready = Clock::now();
    outputs = model.run(image);
    run.push_back(ms(Clock::now() - ready));
    prepare.push_back(ms(ready - start));
  }
  print_outputs(outputs, description, box, options);
  print_times(prepare, run);
  return 0;
}

int main(int count, char** words) {
  try {
    return perceive(parse(count, words));
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  }
}
