// Frame to model input and back: scale to fit, centre, pad. The same numbers, to a rounding, as
// perception/runtime/letterbox.py, which validation and every other consumer use.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "image.hpp"

struct Letterbox {
  int frame_h, frame_w, height, width;  // of the frame, of the model's input
  int inner_h, inner_w, top, left;      // of the scaled frame inside the input

  Letterbox(int frame_h_, int frame_w_, int height_, int width_)
      : frame_h(frame_h_), frame_w(frame_w_), height(height_), width(width_) {
    const double scale = std::min(double(height) / frame_h, double(width) / frame_w);
    // nearbyint rounds halves to the even number, as Python does.
    inner_h = std::min(height, std::max(1, int(std::nearbyint(frame_h * scale))));
    inner_w = std::min(width, std::max(1, int(std::nearbyint(frame_w * scale))));
    top = (height - inner_h) / 2;  // an odd row or column of padding goes below and right
    left = (width - inner_w) / 2;
  }

  // Model pixels to frame pixels, kept inside the frame. Each axis has its own scale, because the
  // inner size is whole pixels.
  double frame_x(double x) const {
    return std::clamp((x - left) * frame_w / inner_w, 0.0, double(frame_w));
  }
  double frame_y(double y) const {
    return std::clamp((y - top) * frame_h / inner_h, 0.0, double(frame_h));
  }
};

// Which pixels of a line of `from` make up each pixel of a line of `to`, and in what shares.
struct Tap {
  int at;
  double share;
};

// By area, for shrinking: thin lane marks keep their weight.
inline std::vector<std::vector<Tap>> area_taps(int from, int to) {
  std::vector<std::vector<Tap>> taps(static_cast<size_t>(to));
  const double scale = double(from) / to;
  for (int i = 0; i < to; ++i) {
    const double start = i * scale, end = std::min(double(from), (i + 1) * scale);
    for (int at = int(start); at < end; ++at) {
      const double share = std::min(end, at + 1.0) - std::max(start, double(at));
      if (share > 1e-6) taps[size_t(i)].push_back({at, share / (end - start)});
    }
  }
  return taps;
}

// Between the two nearest, for enlarging.
inline std::vector<std::vector<Tap>> linear_taps(int from, int to) {
  std::vector<std::vector<Tap>> taps(static_cast<size_t>(to));
  for (int i = 0; i < to; ++i) {
    const double place = (i + 0.5) * from / to - 0.5;
    const int low = int(std::floor(place));
    const double share = place - low;
    taps[size_t(i)] = {{std::clamp(low, 0, from - 1), 1 - share},
                       {std::clamp(low + 1, 0, from - 1), share}};
  }
  return taps;
}

// A picture at another size, into a part of `out` that starts at (top, left).
inline void resize_into(const Image& in, Image& out, int top, int left, int height, int width) {
  const bool shrinks = height < in.height;
  const auto rows = shrinks ? area_taps(in.height, height) : linear_taps(in.height, height);
  const auto columns = shrinks ? area_taps(in.width, width) : linear_taps(in.width, width);
  // OpenCV rounds halves up when it halves a picture, and to the even number otherwise.
  const bool half = in.height == 2 * height && in.width == 2 * width;
  const size_t values = size_t(in.width) * size_t(in.channels);
  std::vector<double> line(values);
  for (int y = 0; y < height; ++y) {
    std::fill(line.begin(), line.end(), 0.0);
    for (const Tap& tap : rows[size_t(y)]) {
      const uint8_t* row = in.row(tap.at);
      for (size_t i = 0; i < values; ++i) line[i] += tap.share * row[i];
    }
    uint8_t* to = out.row(top + y) + left * out.channels;
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < in.channels; ++c) {
        double sum = 0;
        for (const Tap& tap : columns[size_t(x)])
          sum += tap.share * line[size_t(tap.at * in.channels + c)];
        *to++ = uint8_t(half ? std::floor(sum + 0.5) : std::nearbyint(sum));
      }
  }
}

// The model's input: height x width x 3, blue first.
inline Image letterbox(const Image& frame, const Letterbox& box, int pad_value) {
  Image out(box.height, box.width, 3, uint8_t(pad_value));
  resize_into(frame, out, box.top, box.left, box.inner_h, box.inner_w);
  return out;
}

// A mask of the model's size at the frame's, by nearest: values are never mixed.
inline Image mask_to_frame(const uint8_t* mask, const Letterbox& box) {
  Image out(box.frame_h, box.frame_w, 1);
  std::vector<int> columns(size_t(box.frame_w));
  const auto nearest = [](int i, int from, int to) {
    return std::min(from - 1, int(std::floor(i / (double(to) / from))));
  };
  for (int x = 0; x < box.frame_w; ++x)
    columns[size_t(x)] = box.left + nearest(x, box.inner_w, box.frame_w);
  for (int y = 0; y < box.frame_h; ++y) {
    const int from = box.top + nearest(y, box.inner_h, box.frame_h);
    const uint8_t* row = mask + size_t(from) * size_t(box.width);
    for (int x = 0; x < box.frame_w; ++x) out.row(y)[x] = row[columns[size_t(x)]];
  }
  return out;
}
