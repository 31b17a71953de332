// Frame to model input and back: scale to fit, centre, pad. The same numbers, to a rounding, as
// perception/runtime/letterbox.py, which validation and every other consumer use.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
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

constexpr int one = 2048;  // a weight of 1 in whole numbers

// For a pixel of a line, the two of another line next to it and their weights.
struct Tap {
  int at[2], weight[2];
};

inline std::vector<Tap> taps_of(int from, int to) {
  std::vector<Tap> taps(static_cast<size_t>(to));
  for (int i = 0; i < to; ++i) {
    const float place = float((i + 0.5) * (double(from) / to) - 0.5);
    const int low = int(std::floor(place));
    const float share = place - float(low);
    taps[size_t(i)] = {{std::clamp(low, 0, from - 1), std::clamp(low + 1, 0, from - 1)},
                       {int(std::nearbyint((1 - share) * one)), int(std::nearbyint(share * one))}};
  }
  return taps;
}

// A line of pixels at the width of `columns`, in whole numbers.
inline void narrow(const uint8_t* line, const std::vector<Tap>& columns, std::vector<int>& out) {
  int* to = out.data();
  for (const Tap& tap : columns)
    for (int c = 0; c < 3; ++c)
      *to++ = tap.weight[0] * line[3 * tap.at[0] + c] + tap.weight[1] * line[3 * tap.at[1] + c];
}

// A picture at another size, into a part of `out` that starts at (top, left): OpenCV's INTER_LINEAR
// with its whole numbers.
inline void resize_into(const Image& in, Image& out, int top, int left, int height, int width) {
  const auto rows = taps_of(in.height, height), columns = taps_of(in.width, width);
  const bool half = in.height == 2 * height && in.width == 2 * width;  // OpenCV's exact case
  std::vector<int> upper(3 * size_t(width)), lower(upper);
  for (int y = 0; y < height; ++y) {
    const auto& [at, weight] = rows[size_t(y)];
    narrow(in.row(at[0]), columns, upper);
    narrow(in.row(at[1]), columns, lower);
    uint8_t* to = out.row(top + y) + 3 * left;
    for (size_t i = 0; i < upper.size(); ++i) {
      const int a = (weight[0] * (upper[i] >> 4)) >> 16, b = (weight[1] * (lower[i] >> 4)) >> 16;
      to[i] = uint8_t(half ? (upper[i] + lower[i] + one) / (2 * one) : (a + b + 2) >> 2);
    }
  }
}

// The model's input: height x width x 3, blue first. Halved while more than twice as large, so that
// thin lanes do not fall between the pixels, then scaled.
inline Image letterbox(Image frame, const Letterbox& box, int pad_value) {
  while (frame.height > 2 * box.inner_h || frame.width > 2 * box.inner_w) {
    Image half(std::max(1, frame.height / 2), std::max(1, frame.width / 2), 3);
    resize_into(frame, half, 0, 0, half.height, half.width);
    frame = std::move(half);
  }
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
